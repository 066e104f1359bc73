"""`Stream`: a live video that starts from one picture. A step takes the tracks of the next frames and returns them.

A step is: commit the chunk shown last, condition, denoise, decode, finish. The commit comes first rather than last, so
that frames are returned as soon as they are decoded; `settle` commits early, while the viewer watches them. After the
commit the sink is refilled if its policy asks for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motionstream.conditioning import AnyConditioner, Conditioning, TrackBatch
from motionstream.dit import TextContext
from motionstream.geometry import Fit, Geometry
from motionstream.sampling import ChunkInputs, ChunkStep, keyed_noise
from motionstream.sampling.step import DecodeStep
from motionstream.stream.finisher import AnyFinisher
from motionstream.stream.sink import LEFT, policy
from motionstream.stream.state import CommittedChunk, Snapshots, StreamState, latest
from motionstream.tracks import Tracks
from motionstream.vae.pixels import to_frames

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class StreamParts:
    """What a stream runs on; shared by the streams of a model but for the conditioner, which has the stream's seed.

    context: (prompt, image tokens) → keys and values of the cross-attention. reads_prompt: whether the network does,
    or only the finisher.
    """

    geometry: Geometry
    fps: float
    device: torch.device
    chunk_step: ChunkStep
    decode: DecodeStep
    conditioner: AnyConditioner
    finisher: AnyFinisher
    context: Callable[[str, Tensor | None], TextContext]
    reads_prompt: bool
    snapshots: Snapshots


class Stream:
    """Made by `StreamingModel.open`. Not thread-safe; different streams of one model are independent."""

    def __init__(self, parts: StreamParts, state: StreamState) -> None:
        self.parts, self.state, self._sink = parts, state, policy(state.sink)
        self._context = parts.context(state.prompt, state.image_tokens)

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the frames, in pixels."""
        return self.parts.geometry.size

    @property
    def fit(self) -> Fit:
        """How the picture it was opened on lies in the frame."""
        return Fit.of(self.state.source, self.size)

    @property
    def fps(self) -> float:
        """Nominal frames a second."""
        return self.parts.fps

    @property
    def chunk_frames(self) -> int:
        """Frames that the next step returns: 1 + 4(C − 1) first, then 4C."""
        return self.parts.geometry.chunk_frames(self.state.latents, self.parts.chunk_step.rollout_config.chunk)

    @property
    def prompt(self) -> str:
        """The text prompt. A change takes effect at the next step."""
        return self.state.prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        state, parts = self.state, self.parts
        if text == state.prompt:
            return
        context = parts.context(text, state.image_tokens) if parts.reads_prompt else self._context
        self.settle()
        state.prompt = text
        state.finisher = parts.finisher.prompted(state.finisher, text, self._frames_shown())
        if context is not self._context:
            self._context = context
            self._recommit_window()

    def step(self, tracks: Tracks | None = None) -> Frames:
        """The next `chunk_frames` frames, (F, H, W, 3) uint8.

        tracks: of exactly those frames, in pixels of `size`; None: no control. Raises ValueError on tracks of
        another length; the stream is as it was.
        """
        batch, state, parts = self._checked(tracks), self.state, self.parts
        with torch.inference_mode():
            self.settle()
            conditioning, conditioned = parts.conditioner.step(state.conditioner, batch, state.frame)
            clean = parts.chunk_step.denoise(state.cache, self._inputs(conditioning, state.chunks))
            video, decoder = parts.decode(clean, state.decoder)
            restored = parts.finisher.restored(video, conditioned)
            shown = parts.finisher.shown(restored, state.finisher, self._frames_shown())
        state.conditioner, state.decoder = conditioned, decoder
        state.pending = CommittedChunk(clean, conditioning, state.chunks)
        state.frame = restored[:, -1]
        state.chunks += 1
        state.latents += clean.shape[1]
        return to_frames(shown[0])

    def settle(self) -> None:
        """Commit the chunk shown last, if that is still to be done, and check whether the view has left the scene.

        Without a clean pass the last denoising call has committed the chunk, and only the check remains.
        """
        state, chunk = self.state, self.state.pending
        if chunk is None:
            return
        self.parts.chunk_step.commit(state.cache, chunk.clean, self._inputs(chunk.conditioning, chunk.index))
        state.recent = latest([*state.recent, chunk], self._sink.kept(state.cache))
        state.pending = None
        with torch.inference_mode():
            if self._sink.due(state.cache, state.since_left):
                self._fill_sink()
            if self._sink.refreshes and self.parts.conditioner.outside(state.conditioner) > LEFT:
                self._leave()

    def snapshot(self) -> bytes:
        """The state as bytes; `model.resume` continues it bit for bit, also on another machine of the same kind."""
        self.settle()
        return self.parts.snapshots.to_bytes(self.state, self.parts.conditioner)

    def _checked(self, tracks: Tracks | None) -> TrackBatch:
        frames = self.chunk_frames
        tracks = Tracks.empty(frames) if tracks is None else tracks
        if tracks.frames != frames:
            raise ValueError(f"tracks of {tracks.frames} frames: the next step takes {frames} (stream.chunk_frames)")
        return TrackBatch.of([tracks], self.parts.device)

    def _frames_shown(self) -> int:
        return self.parts.geometry.frames(self.state.latents)

    def _inputs(self, conditioning: Conditioning, chunk: int, skipped: int = 0) -> ChunkInputs:
        """Of a chunk without its first `skipped` latents; noise is keyed by the whole chunk."""
        seed, known = self.state.seed, self.state.first if chunk == 0 and not skipped else None

        def noise(step: int, shape: tuple[int, ...]) -> Tensor:
            batch, latents, *cell = shape
            return keyed_noise((batch, skipped + latents, *cell), seed, chunk, step)[:, skipped:]

        return ChunkInputs(conditioning, self._context, noise, known)

    def _leave(self) -> None:
        """Compare the view with the last frame shown from now on, and have the sink refilled."""
        state = self.state
        state.conditioner = self.parts.conditioner.renewed(state.conditioner, state.frame)
        state.left = state.latents if state.left is None else state.left

    def _fill_sink(self) -> None:
        """Refill sink and window with the latents since the scene was left."""
        self.state.cache.reset()
        for chunk in self.state.recent:
            self._recommit(chunk)
        self.state.left = None

    def _recommit_window(self) -> None:
        """After a change of prompt: recompute the window's keys and values with it; the sink stays."""
        window = latest(self.state.recent, self.state.cache.window_filled)
        self.state.cache.reset_window()
        for chunk in window:
            self._recommit(chunk)

    def _recommit(self, chunk: CommittedChunk) -> None:
        inputs = self._inputs(chunk.conditioning, chunk.index, chunk.skipped)
        self.parts.chunk_step.recommit(self.state.cache, chunk.clean, inputs)
