"""When a stream's attention sink is refilled.

The paper's sink holds the first latents of a stream for ever, and with them the first scene: once the view has left it,
the network still attends to it (the paper's open question 1). `refresh` answers that. When enough of the view has come
from outside the first picture (`Conditioner.outside`), the last frame shown takes its place; with that the measure
starts again at zero, so it does not flicker. And as soon as there are enough latents since then, sink and window are
committed again from them, oldest first, each with the conditioning it was made under.

Cost: what the view has left is forgotten, also if the view returns. Limit: a camera that only moves closer leaves
nothing, so the sink stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from motionstream.dit import RollingCache

FIXED, REFRESH = "fixed", "refresh"
LEFT = 0.35
"""Share of the view from outside the first picture from which on the scene counts as left: more than the hole behind an
object that is dragged across the picture, and well below a half, where the warp becomes unreliable (places without a
point near them then seem to stand still, inside)."""


@dataclass(frozen=True)
class SinkPolicy:
    """refreshes: whether the sink follows the view; if not, the first latents stay in it, as in the paper."""

    refreshes: bool

    def kept(self, cache: RollingCache) -> int:
        """Latents of the past, with their conditioning, that the stream has to keep: for a new prompt the window, for a
        new sink that and the sink."""
        return cache.sink + cache.window if self.refreshes else cache.window_filled

    def due(self, cache: RollingCache, since_left: int | None) -> bool:
        """Whether to refill the sink. since_left: latents made since the scene was left, None: it was not.

        Leaving once more before that does not delay it, so it is refilled however fast the view moves, and never twice
        within sink + window latents.
        """
        return self.refreshes and cache.sink > 0 and since_left is not None and since_left >= self.kept(cache)


POLICIES = {FIXED: SinkPolicy(refreshes=False), REFRESH: SinkPolicy(refreshes=True)}


def policy(name: str) -> SinkPolicy:
    """The policy of this name. Raises ValueError if there is none."""
    if name not in POLICIES:
        raise ValueError(f"sink {name!r} is unknown: use {' or '.join(POLICIES)}")
    return POLICIES[name]


def opening(name: str) -> dict[str, Any]:
    """What to add to `model.open` for it: nothing for `fixed`, so that a model without the choice can be used.

    Raises ValueError as `policy`.
    """
    policy(name)
    return {} if name == FIXED else {"sink": name}
