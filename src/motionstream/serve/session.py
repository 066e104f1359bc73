"""One opened picture, its stream and its gestures. Each chunk: gestures → tracks → frames → bytes."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motionstream.serve.encode import Mp4Recorder, jpeg_frames
from motionstream.serve.limits import Limits
from motionstream.serve.model_thread import SettlingStream
from motionstream.serve.protocol import pack_chunk
from motionstream.tracks import Tracks
from motionstream.tracks.events import Event, Gesture, Pause, Prompt, Resume
from motionstream.tracks.record import Header, Recorder, Recording

log = logging.getLogger(__name__)

Script = deque[tuple[int, Event]]
"""Events of a recording, each with the frame from which on it acts."""
OVERLAY_STEPS = 8  # positions go to the viewer in eighths of a pixel
OVERLAY_HIDDEN = -32768


@dataclass(frozen=True)
class Origin:
    """What a session was opened with, so that it can be opened again."""

    source: str
    picture: str
    prompt: str = ""
    seed: int = 0


@dataclass(frozen=True)
class PackedChunk:
    """One chunk ready to send: its number, how many frames it has, and the message."""

    number: int
    frames: int
    data: bytes


class Session:
    """One stream of one viewer.

    Gestures and prompts arrive on the event loop at any time; `next_chunk` runs in the model thread; a lock guards what
    both use. script: of a recording to be replayed.
    """

    def __init__(
        self, stream: SettlingStream, origin: Origin, limits: Limits, jpeg_quality: int, script: Script | None = None
    ) -> None:
        self.stream, self.origin, self.limits = stream, origin, limits
        self.size, self.fps, self.chunk_frames = stream.size, stream.fps, stream.chunk_frames
        header = Header(
            self.size, self.fps, f"{origin.source}:{origin.picture}", origin.prompt, origin.seed, limits.points
        )
        self._gestures = Recorder(header, limits.gesture_log_events)
        self._script: Script = script or deque()
        self._jpeg_quality = jpeg_quality
        self._lock = threading.Lock()
        self._prompt: str | None = None
        self._applied_seq = -1
        self._chunks = 0
        self._mp4: Mp4Recorder | None = None

    @property
    def next_frame(self) -> int:
        """The first frame of the next chunk."""
        return self._gestures.session.next_frame

    def recording(self) -> Recording:
        """All gestures, prompts and pauses so far, to be replayed exactly; the first `gesture_log_events` of them."""
        with self._lock:
            return self._gestures.recording()

    def apply(self, seq: int, events: Sequence[Gesture]) -> None:
        """Apply gestures from the next chunk on. Raises ValueError at the first that is refused."""
        with self._lock:
            for event in events:
                self._gestures.apply(event)
            self._applied_seq = seq

    def set_prompt(self, seq: int, text: str) -> None:
        """Change the prompt from the next chunk on."""
        with self._lock:
            self._gestures.apply(Prompt(text, self.next_frame / self.fps))
            self._prompt, self._applied_seq = text, seq

    def note_running(self, running: bool) -> None:
        """Record that the stream was paused or resumed; the stream clock does not advance meanwhile."""
        with self._lock:
            time_now = self.next_frame / self.fps
            self._gestures.apply(Resume(time_now) if running else Pause(time_now))

    def next_chunk(self) -> PackedChunk:
        """Make, encode and record the next chunk. Runs in the model thread."""
        began = time.perf_counter()
        header, tracks = self._sample_input()
        frames = self.stream.step(tracks)
        stepped = time.perf_counter()
        pictures = list(jpeg_frames(frames, self._jpeg_quality))
        if self._mp4 is not None:
            self._mp4.write(frames)
        encoded = time.perf_counter()
        header["step_ms"] = (stepped - began) * 1e3
        header["encode_ms"] = (encoded - stepped) * 1e3
        header |= overlay(tracks, self.size)
        return PackedChunk(int(str(header["chunk"])), len(frames), pack_chunk(header, pictures))

    def _sample_input(self) -> tuple[dict[str, object], Tracks]:
        """All input that arrived so far: it is read as late as possible.

        A new prompt is encoded outside the lock, because that takes long; input that arrives meanwhile is included.
        """
        while True:
            with self._lock:
                self._play_script()
                if self._prompt is None:
                    return self._header(), self._gestures.tracks(self.next_frame, self.stream.chunk_frames)
                prompt, self._prompt = self._prompt, None
            self.stream.prompt = prompt

    def _header(self) -> dict[str, object]:
        number, self._chunks = self._chunks, self._chunks + 1
        return {"chunk": number, "first_frame": self.next_frame, "applied_seq": self._applied_seq, "fps": self.fps}

    def _play_script(self) -> None:
        while self._script and self._script[0][0] <= self.next_frame:
            event = self._script.popleft()[1]
            try:
                self._gestures.apply(event)
            except ValueError as error:  # a viewer's own gesture may use its name, or the last of the points
                log.info("replay: %s", error)
                continue
            if isinstance(event, Prompt):
                self._prompt = event.text

    def settle(self) -> None:
        """Commit the chunk while it is shown (`Stream.settle`). Runs in the model thread."""
        self.stream.settle()

    def start_recording(self, folder: Path) -> None:
        """Write every later frame to a new MP4 file in `folder`. Runs in the model thread."""
        if self._mp4 is None:
            limit = int(self.limits.record_seconds * self.fps)
            self._mp4 = Mp4Recorder(folder, self.size, self.fps, limit)

    def stop_recording(self) -> tuple[Path, int] | None:
        """Finish the file: its path and its frames; None if there is nothing in it. Runs in the model thread."""
        recorder, self._mp4 = self._mp4, None
        if recorder is not None and recorder.frames:
            return recorder.close(), recorder.frames
        if recorder is not None:
            recorder.discard()
        return None

    def close(self) -> None:
        """Drop an unfinished recording. Runs in the model thread."""
        recorder, self._mp4 = self._mp4, None
        if recorder is not None:
            recorder.discard()


def overlay(tracks: Tracks, size: tuple[int, int]) -> dict[str, object]:
    """The tracks given to the model: count and (F, N, 2) int16 in eighths of a pixel; hidden points are marked."""
    reach = 4 * max(size)
    steps = np.round(np.clip(tracks.xy, -reach, reach) * OVERLAY_STEPS)
    places = np.clip(steps, OVERLAY_HIDDEN + 1, 32767).astype("<i2")
    places[~tracks.visible] = OVERLAY_HIDDEN
    return {"points": tracks.points, "tracks": places.tobytes()}
