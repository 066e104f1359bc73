"""Real-time, motion-controlled video: a picture, a prompt and a drag become an endless stream.

    import motionstream as ms
    model = ms.load("tiny")
    stream = model.open("photo.jpg", prompt="it starts to snow")
    frames = stream.step(tracks)          # ms.Tracks, or None → (F, H, W, 3) uint8

Names are imported when they are used, so that `import motionstream` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motionstream.stream.model import StreamingModel as StreamingModel
    from motionstream.stream.stream import Stream as Stream
    from motionstream.tracks import Tracks as Tracks
    from motionstream.zoo import load as load

__all__ = ["Stream", "StreamingModel", "Tracks", "load"]

_HOMES = {
    "Stream": "motionstream.stream.stream",
    "StreamingModel": "motionstream.stream.model",
    "Tracks": "motionstream.tracks",
    "load": "motionstream.zoo",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'motionstream' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
