"""Which way of running a model fits a memory: the best one first, then what costs least to give up.

In this order: the tiny decoder (which is also the fast one), text and picture encoders on the CPU (a new prompt then
takes seconds), fp8 weights (Ada, Hopper and later), and a smaller frame than the model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast, get_args

from motionstream.plan.needs import GIB, Choice, Decoder, Part, parts
from motionstream.plan.subject import Subject
from motionstream.tiny.vae import TinyVAEConfig

LADDER = ("tiny decoder", "encoders on the CPU", "fp8 weights", "smaller frame")
KEPT_FREE = 0.05
"""Share of the GPU's memory that the allocator loses between blocks: an estimate."""


@dataclass(frozen=True)
class Plan:
    """A way of running a model in so much memory. wanted: sessions that must fit."""

    model: str
    memory_gib: float
    choice: Choice
    parts: tuple[Part, ...]
    wanted: int

    @property
    def usable(self) -> int:
        """Bytes of the GPU that can be filled."""
        return int(self.memory_gib * GIB * (1 - KEPT_FREE))

    @property
    def fixed(self) -> int:
        """Bytes on the GPU before the first session."""
        return sum(part.bytes for part in self.parts if part.place == "gpu" and part.once == "model")

    @property
    def session(self) -> int:
        """Bytes on the GPU of one session."""
        return sum(part.bytes for part in self.parts if part.place == "gpu" and part.once == "session")

    @property
    def host(self) -> int:
        """Bytes of main memory for what is kept there."""
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


def planned(subject: Subject, memory_gib: float, choice: Choice, sessions: int = 1) -> Plan:
    """The plan of one way. Raises ValueError for memory or sessions that are none, and for an impossible frame."""
    if not 0 < memory_gib < float("inf") or sessions < 1:
        raise ValueError(f"{sessions} sessions in {memory_gib:g} GiB: send at least one session and some memory")
    return Plan(subject.name, memory_gib, choice, parts(subject, choice), sessions)


def choose(
    subject: Subject,
    memory_gib: float,
    *,
    decoder: str | None = None,
    fp8: bool | None = None,
    size: tuple[int, int] | None = None,
    sessions: int = 1,
) -> Plan:
    """The first way that fits, as little given up as needed; the last one where none does (`fits` says so).

    decoder ("tiny" or "full"), size: held to if named. fp8: True from the start, False never, None when needed. Raises
    ValueError for another decoder, for any where the model has its own, and as `planned`.
    """
    if decoder not in (None, *get_args(Decoder)):
        raise ValueError(f"decoder {decoder!r}: {' or '.join(get_args(Decoder))}")
    if decoder is not None and isinstance(subject.vae, TinyVAEConfig):
        raise ValueError(f"{subject.name} has a decoder of its own: leave the decoder out")
    plan = None
    for way in _ways(subject, cast(Decoder | None, decoder), fp8, size):
        plan = planned(subject, memory_gib, way, sessions)
        if plan.fits:
            return plan
    assert plan is not None
    return plan


def _ways(
    subject: Subject, decoder: Decoder | None, fp8: bool | None, size: tuple[int, int] | None
) -> Iterator[Choice]:
    """From the best to the smallest, each with one thing more given up."""
    own = isinstance(subject.vae, TinyVAEConfig)
    way = Choice("tiny" if own else decoder or "full", "gpu", bool(fp8), size or subject.sizes[0])
    yield way
    if not own and decoder is None:
        yield (way := replace(way, decoder="tiny"))
    if not own:
        yield (way := replace(way, encoders="cpu"))
    if fp8 is None and not own:
        yield (way := replace(way, fp8=True))
    if size is None:
        yield from (replace(way, size=smaller) for smaller in subject.sizes[1:])
