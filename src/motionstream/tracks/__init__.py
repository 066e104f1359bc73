"""The control: points over time, from a hand, a file, a camera or a tracker."""

from motionstream.tracks.gestures import GestureSession
from motionstream.tracks.tracks import Tracks

__all__ = ["GestureSession", "Tracks"]
