"""When a stream's anchor and sink are taken anew.

The paper's sink holds the first latents of a stream for ever, and with them the first scene: once the view has left it,
the network still looks at it (the paper's open question 1). `refresh` answers that. When enough of the view has come
from outside the anchor picture (`Anchor.outside`), the last frame shown becomes the anchor, as when too much is held;
with that the measure begins again at nothing, so it does not waver. And as soon as there are latents enough since then,
sink and window are committed again from them, oldest first, each with the conditioning it was made under.

What it costs: going back, what was left is no longer there. What it cannot see: a view that comes ever closer leaves
nothing. An anchor taken anew because too much is held also starts the measure again, and the sink stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from motionstream.dit import RollingCache
    from motionstream.stream.state import StreamState

FIXED, REFRESH = "fixed", "refresh"
LEFT = 0.35
"""Share of the view from outside the anchor picture from which on the scene is left: more than what a thing leaves
behind that is dragged across the picture, and well below a half, where the warp begins to lose hold (places that no
point speaks for then look as if they stood still, inside)."""


class SinkPolicy(Protocol):
    """Decides, once every chunk shown is committed; the stream acts."""

    def kept(self, cache: RollingCache) -> int:
        """Latents of the past, with their conditioning, that the stream has to keep."""
        ...

    def leaves(self, state: StreamState) -> bool:
        """Whether the view has left the scene of the anchor."""
        ...

    def due(self, state: StreamState) -> bool:
        """Whether the sink is to be filled anew from what is kept."""
        ...


class FixedSink:
    """The paper's: what came first stays. Kept is what a new prompt needs, the window."""

    def kept(self, cache: RollingCache) -> int:
        return cache.window_filled

    def leaves(self, state: StreamState) -> bool:
        return False

    def due(self, state: StreamState) -> bool:
        return False


class RefreshedSink:
    """Goes along with the view. Leaving once more while the sink is waiting does not make it wait longer, so that it is
    filled however fast the view goes; and never twice within sink + window latents.
    """

    def kept(self, cache: RollingCache) -> int:
        return cache.sink + cache.window

    def leaves(self, state: StreamState) -> bool:
        return bool((state.conditioner.anchor.outside() > LEFT).any())

    def due(self, state: StreamState) -> bool:
        waiting = state.left is not None and state.cache.sink > 0
        return waiting and state.latents - (state.left or 0) >= self.kept(state.cache)


POLICIES: dict[str, SinkPolicy] = {FIXED: FixedSink(), REFRESH: RefreshedSink()}


def policy(name: str) -> SinkPolicy:
    """The policy of this name. Raises ValueError if there is none."""
    if name not in POLICIES:
        raise ValueError(f"sink {name!r} is unknown: use {' or '.join(POLICIES)}")
    return POLICIES[name]


def opening(name: str) -> dict[str, Any]:
    """What to add to `model.open` for it: nothing for `fixed`, so that a model that knows no other can be asked.

    Raises ValueError as `policy`.
    """
    policy(name)
    return {} if name == FIXED else {"sink": name}
