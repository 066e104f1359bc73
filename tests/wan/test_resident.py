"""A network that is needed seldom: where it is between its uses, here without a second device."""

from __future__ import annotations

from typing import Any, Self

import pytest
import torch
from torch import nn

from motionstream.wan.resident import Keep, Resident


class Traveller(nn.Linear):
    """Remembers where it was sent, and goes nowhere."""

    def __init__(self, room: bool = True) -> None:
        super().__init__(2, 2)
        self.room, self.journeys = room, list[str]()

    def to(self, *args: Any, **kwargs: Any) -> Self:
        self.journeys.append(str(args[0]))
        if not self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self


@pytest.mark.parametrize(
    ("keep", "loads", "journeys"),
    [
        ("device", 1, ["cuda:0"] * 3),
        ("cpu", 1, ["cuda:0", "cpu"] * 3),
        ("disk", 3, ["cuda:0"]),
    ],
)
def test_it_comes_when_needed_and_goes_where_it_is_kept(keep: Keep, loads: int, journeys: list[str]) -> None:
    made: list[Traveller] = []

    def load() -> Traveller:
        made.append(Traveller())
        return made[-1]

    resident = Resident(load, "cuda:0", keep)
    assert made == []
    for _ in range(3):
        with resident.ready() as network:
            assert network is made[-1]
            assert not network.training
            assert not torch.is_grad_enabled()
            assert not network.weight.requires_grad
    assert len(made) == loads
    assert made[-1].journeys == journeys


def test_it_is_put_away_after_a_failure_too() -> None:
    traveller = Traveller()
    resident = Resident(lambda: traveller, "cuda:0", "cpu")
    with pytest.raises(RuntimeError, match="in use"), resident.ready():
        raise RuntimeError("in use")
    assert traveller.journeys == ["cuda:0", "cpu"]
    with resident.ready():
        pass


def test_no_room_on_the_device_is_said_and_leaves_nothing() -> None:
    resident = Resident(lambda: Traveller(room=False), "cuda:0", "cpu")
    with pytest.raises(ValueError, match=r"cuda:0 has no room for 0\.0 GiB of Traveller.*cpu"), resident.ready():
        pass
    assert not resident.loaded
