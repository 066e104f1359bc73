"""An encoder that is loaded when it is first used: where its weights are between uses, here without a second device."""

from __future__ import annotations

from typing import Any, Self

import pytest
import torch
from torch import nn

from motionstream.wan.lazy_encoder import LazyEncoder


class Recording(nn.Linear):
    """Records the devices it is sent to, and stays where it is."""

    def __init__(self, room: bool = True) -> None:
        super().__init__(2, 2)
        self.room, self.devices = room, list[str]()

    def to(self, *args: Any, **kwargs: Any) -> Self:
        self.devices.append(str(args[0]))
        if not self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self


class Encoder(LazyEncoder):
    def __init__(self, offload: bool, room: bool = True) -> None:
        super().__init__("nowhere", device="cuda:0", offload=offload)
        self.room, self.loads = room, list[Recording]()

    def _load(self) -> nn.Module:
        self.loads.append(Recording(self.room))
        return self.loads[-1]


@pytest.mark.parametrize(("offload", "devices"), [(False, ["cuda:0"] * 3), (True, ["cuda:0", "cpu"] * 3)])
def test_it_is_loaded_once_and_offloaded_between_uses(offload: bool, devices: list[str]) -> None:
    encoder = Encoder(offload)
    assert encoder.loads == []
    for _ in range(3):
        with encoder.network() as network:
            assert network is encoder.loads[-1]
            assert not network.training
            assert not torch.is_grad_enabled()
            assert not any(weight.requires_grad for weight in network.parameters())
    assert len(encoder.loads) == 1
    assert encoder.loads[-1].devices == devices


def test_it_is_offloaded_after_a_failure_too() -> None:
    encoder = Encoder(offload=True)
    with pytest.raises(RuntimeError, match="in use"), encoder.network():
        raise RuntimeError("in use")
    assert encoder.loads[-1].devices == ["cuda:0", "cpu"]
    with encoder.network():
        pass


def test_a_device_without_memory_is_named_and_the_network_is_loaded_anew() -> None:
    encoder = Encoder(offload=True, room=False)
    message = r"cuda:0 has not 0\.0 GiB of memory left for Recording.*cpu"
    for loads in (1, 2):
        with pytest.raises(ValueError, match=message), encoder.network():
            pass
        assert len(encoder.loads) == loads
