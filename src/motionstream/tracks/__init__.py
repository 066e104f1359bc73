"""Point tracks, the control signal: from gestures, recordings and files."""

from motionstream.tracks.gestures import GestureSession
from motionstream.tracks.tracks import Tracks

__all__ = ["GestureSession", "Tracks"]
