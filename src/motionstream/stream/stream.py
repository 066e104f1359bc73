"""`Stream`: one picture come alive. Every step takes the tracks of the next frames and returns those frames.

A step is: commit the chunk shown last, condition, denoise, decode. The commit comes first rather than last, so
that frames leave as soon as they are decoded; `settle` does it early, in the time a viewer looks at them. Behind the
commit, anchor and sink are taken anew if the sink's policy asks for that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from motionstream.conditioning import ConditionerState, Conditioning, TrackBatch, Warped
from motionstream.geometry import Fit
from motionstream.sampling import keyed_noise
from motionstream.stream.sink import policy
from motionstream.stream.state import Chunk, StreamState, latest, to_bytes
from motionstream.tracks import Tracks
from motionstream.vae.pixels import to_frames

if TYPE_CHECKING:
    from motionstream.stream.model import StreamingModel

Frames = npt.NDArray[np.uint8]


class Stream:
    """Made by `StreamingModel.open`. Not thread-safe; different streams of one model are independent."""

    def __init__(self, model: StreamingModel, state: StreamState) -> None:
        self.model, self.state, self._sink = model, state, policy(state.sink)
        self._context = model.context(state.prompt, state.seen)
        self._phrases, self._specks = model.phrases(state.prompt), model.specks(state.seed)

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the frames, in pixels."""
        return self.model.geometry.size

    @property
    def fit(self) -> Fit:
        """How the picture it was opened on lies in the frame."""
        return Fit.of(self.state.source, self.size)

    @property
    def fps(self) -> float:
        """Nominal frames a second."""
        return self.model.fps

    @property
    def chunk_frames(self) -> int:
        """Frames that the next step returns: 1 + 4(C − 1) first, then 4C."""
        return self.model.geometry.chunk_frames(self.state.latents, self.model.rollout_config.chunk)

    @property
    def prompt(self) -> str:
        """What is to happen. A change takes effect at the next step."""
        return self.state.prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        if text == self.state.prompt:
            return
        context = self.model.context(text, self.state.seen) if self.model.prompted else self._context
        self.settle()
        self.state.prompt = text
        self.state.prompted, self._phrases = self._frames_shown(), self.model.phrases(text)
        if context is not self._context:
            self._context = context
            self._commit_window_again()

    def step(self, tracks: Tracks | None = None) -> Frames:
        """The next `chunk_frames` frames, (F, H, W, 3) uint8.

        tracks: of exactly those frames, in pixels of `size`; None: no control. Raises ValueError on tracks of
        another length; the stream is as it was.
        """
        batch = self._checked(tracks)
        with torch.inference_mode():
            self.settle()
            conditioning, warped, following = self._condition(batch)
            clean = self._denoise(conditioning)
            video, decoder = self.model.decode(clean, warped, self.state.decoder)
            shown = self._filtered(video)
        state = self.state
        state.conditioner, state.decoder = following, decoder
        state.pending = Chunk(clean, conditioning)
        state.frame = video[:, -1]
        state.chunks += 1
        state.latents += clean.shape[1]
        return to_frames(shown[0])

    def settle(self) -> None:
        """Commit the chunk shown last, if that is still to be done, and see whether the view has left the scene.

        In a rollout without a clean pass its last call has done it; then only the latter is left.
        """
        state, chunk = self.state, self.state.pending
        if chunk is None:
            return
        self._commit(chunk)
        state.recent = latest([*state.recent, chunk], self._sink.kept(state.cache))
        state.pending = None
        with torch.inference_mode():
            if self._sink.due(state):
                self._fill_sink()
            if self._sink.leaves(state):
                self._leave()

    def snapshot(self) -> bytes:
        """All of this stream; `model.resume` goes on from it bit for bit, also on another machine of the same kind."""
        self.settle()
        return to_bytes(self.state, self.model.hash)

    def _checked(self, tracks: Tracks | None) -> TrackBatch:
        frames = self.chunk_frames
        tracks = Tracks.empty(frames) if tracks is None else tracks
        if tracks.frames != frames:
            raise ValueError(f"tracks of {tracks.frames} frames: the next step takes {frames} (stream.chunk_frames)")
        return TrackBatch.of([tracks], self.model.device)

    def _condition(self, tracks: TrackBatch) -> tuple[Conditioning, Warped | None, ConditionerState]:
        """What steers the next chunk, once the anchor knows who took hold and who let go; and its warp in pixels."""
        state, current = self.state, self.state.conditioner
        anchor = current.anchor.renewed(state.frame) if current.anchor.crowded else current.anchor
        ready = ConditionerState(anchor.following(tracks), current.memory)
        conditioner = self.model.conditioner(state.seed)
        warped = conditioner.warp(ready.anchor, tracks) if conditioner.anchored else None
        conditioning, following = conditioner.step(ready, tracks, warped)
        return conditioning, warped, following

    def _denoise(self, conditioning: Conditioning) -> torch.Tensor:
        state, model = self.state, self.model
        return model.chunk_step.denoise(
            state.cache,
            conditioning,
            self._context,
            lambda step, shape: keyed_noise(shape, state.seed, state.chunks, step),
            state.first if state.latents == 0 else None,
        )

    def _frames_shown(self) -> int:
        return self.model.geometry.frames(self.state.latents) if self.state.latents else 0

    def _filtered(self, video: torch.Tensor) -> torch.Tensor:
        """The next frames as they are shown: what is kept of them, and moved on, is without the prompt's look."""
        return self.model.filtered(video, self._phrases, self._specks, self._frames_shown(), self.state.prompted)

    def _commit(self, chunk: Chunk) -> None:
        self.model.chunk_step.commit(self.state.cache, chunk.clean, chunk.conditioning, self._context)

    def _recommit(self, chunk: Chunk) -> None:
        self.model.chunk_step.recommit(self.state.cache, chunk.clean, chunk.conditioning, self._context)

    def _leave(self) -> None:
        """The last frame shown is the anchor; the sink follows."""
        state = self.state
        state.conditioner = replace(state.conditioner, anchor=state.conditioner.anchor.renewed(state.frame))
        state.left = state.latents if state.left is None else state.left

    def _fill_sink(self) -> None:
        """Sink and window anew from the latents since the scene was left."""
        self.state.cache.reset()
        for chunk in self.state.recent:
            self._recommit(chunk)
        self.state.left = None

    def _commit_window_again(self) -> None:
        """After a change of prompt: the window as the new prompt sees it; the sink stays."""
        window = latest(self.state.recent, self.state.cache.window_filled)
        self.state.cache.reset_window()
        for chunk in window:
            self._recommit(chunk)
