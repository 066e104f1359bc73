"""Which setup of a model fits a GPU's memory: the best one first, then what costs least to give up.

In this order: the tiny decoder (which is also the fast one), text and picture encoders on the CPU (a new prompt then
takes seconds), fp8 weights (Ada, Hopper and later), and a smaller frame than the model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast, get_args

from motionstream.plan.memory import GIB, Decoder, Part, Setup, parts
from motionstream.plan.models import ModelSizes

KEPT_FREE = 0.05
"""Share of the GPU's memory that the allocator loses between blocks: an estimate."""


@dataclass(frozen=True)
class Plan:
    """A setup of a model on a GPU of so much memory. wanted: sessions that must fit.

    Raises ValueError unless memory and sessions are positive; its parts raise it for an impossible frame.
    """

    model: ModelSizes
    memory_gib: float
    setup: Setup
    wanted: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.memory_gib < float("inf") or self.wanted < 1:
            raise ValueError(
                f"{self.wanted} sessions in {self.memory_gib:g} GiB: send at least one session and some memory"
            )

    @property
    def parts(self) -> tuple[Part, ...]:
        return parts(self.model, self.setup)

    @property
    def usable(self) -> int:
        """Bytes of the GPU that can be filled."""
        return int(self.memory_gib * GIB * (1 - KEPT_FREE))

    @property
    def fixed(self) -> int:
        """Bytes on the GPU before the first session."""
        return sum(part.bytes for part in self.parts if (part.place, part.owner) == ("gpu", "model"))

    @property
    def session(self) -> int:
        """Bytes on the GPU of one session."""
        return sum(part.bytes for part in self.parts if part.owner == "session")

    @property
    def host(self) -> int:
        """Bytes of the machine's own memory for what computes there."""
        return sum(part.bytes for part in self.parts if part.place == "cpu")

    @property
    def total(self) -> int:
        """Bytes on the GPU with the sessions wanted."""
        return self.fixed + self.wanted * self.session

    @property
    def sessions(self) -> int:
        """Sessions that fit; how many of them run live is a matter of speed."""
        return max(0, self.usable - self.fixed) // self.session

    @property
    def fits(self) -> bool:
        return self.total <= self.usable


def choose(
    model: ModelSizes,
    memory_gib: float,
    *,
    decoder: str | None = None,
    fp8: bool | None = None,
    size: tuple[int, int] | None = None,
    sessions: int = 1,
) -> Plan:
    """The first setup that fits, as little given up as needed; the last one where none does (`fits` says so).

    decoder ("tiny" or "full"), size: held to if named. fp8: True from the start, False never, None when needed. Raises
    ValueError for another decoder, for any where the model has its own, and as `Plan`.
    """
    if decoder not in (None, *get_args(Decoder)):
        raise ValueError(f"decoder {decoder!r}: {' or '.join(get_args(Decoder))}")
    if decoder is not None and model.full_vae is None:
        raise ValueError(f"{model.name} has a decoder of its own: leave the decoder out")
    for setup in setups(model, cast(Decoder | None, decoder), fp8, size):
        plan = Plan(model, memory_gib, setup, sessions)
        if plan.fits:
            break
    return plan


def setups(
    model: ModelSizes, decoder: Decoder | None = None, fp8: bool | None = None, size: tuple[int, int] | None = None
) -> Iterator[Setup]:
    """From the best to the smallest, each with one thing more given up. Arguments as of `choose`."""
    own = model.full_vae is None
    setup = Setup("tiny" if own else decoder or "full", "gpu", bool(fp8), size or model.frame_sizes[0])
    yield setup
    if not own:
        if decoder is None:
            yield (setup := replace(setup, decoder="tiny"))
        yield (setup := replace(setup, encoders="cpu"))
        if fp8 is None:
            yield (setup := replace(setup, fp8=True))
    if size is None:
        yield from (replace(setup, size=smaller) for smaller in model.frame_sizes[1:])
