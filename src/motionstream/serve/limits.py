"""All limits on what viewers may ask of the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Inclusive limits for each viewer, in the unit in the name. viewers: connections at once."""

    viewers: int = 4
    message_bytes: int = 64 * 1024
    prompt_characters: int = 2_000
    points: int = 2_500
    messages_per_second: int = 1_000
    message_burst: int = 2_000
    bad_messages_per_second: int = 2
    bad_message_burst: int = 20

    upload_bytes: int = 8 * 1024 * 1024
    picture_min_side: int = 16
    picture_max_side: int = 4_096
    picture_max_pixels: int = 16_800_000
    pictures_kept: int = 32
    decodes_at_once: int = 2
    replay_bytes: int = 8 * 1024 * 1024

    unacknowledged_chunks: int = 2
    stall_seconds: float = 10.0
    hello_seconds: float = 5.0
    record_seconds: float = 600.0
    recordings_kept: int = 8
    gesture_log_events: int = 200_000


class Bucket:
    """A token bucket: `burst` at once, `rate` a second on average."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left = float(burst)
        self._since = clock()

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
