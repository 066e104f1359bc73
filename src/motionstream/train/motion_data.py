"""Batches for the stages that train a DiT: latents, conditioning and prompts.

Here they are made of synthetic clips with a frozen VAE; `wan_data.py` makes them of clips that were encoded before.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from motionstream.conditioning import Conditioning, EncodedPrompts, TrackBatch, TrackConditioner
from motionstream.data.loader import Loader
from motionstream.data.synthetic import Batch
from motionstream.dit import TextContext
from motionstream.geometry import Geometry
from motionstream.sampling import MotionModel
from motionstream.tiny.anchor import Anchor
from motionstream.tiny.conditioner import AnchoredConditioner, AnchoredConditioning, AnchoredState, Warped
from motionstream.tiny.vae import TinyVAE
from motionstream.tracks import Tracks
from motionstream.train.points import Choice, choose
from motionstream.train.stage import Stateful
from motionstream.train.tiny_vae import finished_vae
from motionstream.vae.pixels import to_model

REANCHOR = 0.25
"""Share of batches whose anchor is taken anew within the clip, as a stream does when too much is held."""

CHUNK = 3
"""Latents in a chunk, at whose start it is."""


@dataclass(frozen=True)
class Drops:
    """Shares of clips that lose the prompt, the tracks, both, and the warped anchor. idle: that stand still instead of
    moving, without tracks. reanchor: of batches whose anchor is taken anew within the clip."""

    text: float = 0.0
    track: float = 0.0
    both: float = 0.0
    anchor: float = 0.0
    idle: float = 0.0
    reanchor: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """B clips: latents (B, T, C, h, w), their conditioning, and that without tracks (for guidance).

    prompts: as text, or encoded by an encoder that is not the network's; then `null_prompt` is the empty prompt's
    encoding, of one clip, and `seen` the first picture's tokens (B, L, image_dim) where the network reads such. key: of
    all draws that this pass still makes, None where they follow from those before.
    """

    latents: Tensor
    conditioning: Conditioning
    no_motion: Conditioning | None
    prompts: list[str] | EncodedPrompts
    null_prompt: EncodedPrompts | None = None
    seen: Tensor | None = None
    key: int | None = None

    @property
    def first(self) -> Tensor:
        """The given picture's latent (B, 1, C, h, w)."""
        return self.latents[:, :1]


@dataclass(frozen=True, kw_only=True)
class WorldSample(Sample):
    """With its pixels (B, F, 3, H, W) in [−1, 1], and its warped anchor where the network reads one."""

    video: Tensor
    warped: Warped | None

    def warp(self) -> Warped:
        """The warped anchor. Raises ValueError if the network reads none."""
        if self.warped is None:
            raise ValueError("this stage needs a warped anchor: set network.anchored")
        return self.warped


class MotionSource(Stateful, Protocol):
    """Where a stage's samples come from. vae: decodes them for sheets, if there is one."""

    @property
    def latent_channels(self) -> int: ...
    @property
    def vae(self) -> TinyVAE | None: ...

    def next(self, no_motion: bool = False) -> Sample:
        """The next batch. no_motion: also the conditioning without tracks."""
        ...

    def probe(self, clips: int) -> Sample:
        """The same few clips every time, fully controlled."""
        ...


def context_of(model: MotionModel, sample: Sample) -> TextContext:
    """What the network's cross-attention reads of a sample."""
    return _context(model, sample, sample.prompts)


def null_prompt_context(model: MotionModel, sample: Sample) -> TextContext:
    """The same without a prompt, for guidance."""
    if isinstance(sample.prompts, list):
        return _context(model, sample, [""] * len(sample.prompts))
    if sample.null_prompt is None:
        raise ValueError("a sample with encoded prompts needs the empty prompt's encoding for guidance")
    clips = len(sample.prompts.lengths)
    return _context(model, sample, EncodedPrompts.of([sample.null_prompt.row(0)] * clips))


def _context(model: MotionModel, sample: Sample, prompts: list[str] | EncodedPrompts) -> TextContext:
    if isinstance(prompts, list):
        return model.context(prompts)
    text = prompts.padded(model.dit.config.text_tokens).to(sample.latents)
    return model.dit.text_context(text, sample.seen)


def frozen_vae(run_dir: Path, device: str, dtype: torch.dtype) -> TinyVAE:
    """The averaged VAE of a finished run, for inference."""
    return finished_vae(run_dir).to(device, dtype).requires_grad_(False).eval()


class MotionData:
    """Draws `Sample`s. Its position and generator are all that a checkpoint needs."""

    def __init__(
        self,
        data: Loader,
        vae: TinyVAE,
        geometry: Geometry,
        choice: Choice,
        drops: Drops,
        seed: int,
        anchored: bool = True,
    ) -> None:
        """anchored: whether the network reads the warped anchor."""
        self.data, self.vae, self.geometry, self.anchored = data, vae, geometry, anchored
        self.choice, self.drops = choice, drops
        self.random = np.random.default_rng(seed)

    @property
    def latent_channels(self) -> int:
        return self.vae.latent_channels

    def next(self, no_motion: bool = False) -> WorldSample:
        """The next batch. no_motion: also the conditioning without tracks."""
        return self._sample(next(self.data), self.random, self.drops, no_motion)

    def probe(self, clips: int) -> WorldSample:
        """The same few clips every time, fully controlled."""
        return self._sample(self.data.probe(clips), np.random.default_rng(7), Drops(), no_motion=True)

    def state_dict(self) -> dict[str, Any]:
        return {"data": self.data.state_dict(), "random": copy.deepcopy(self.random.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.data.load_state_dict(state["data"])
        self.random.bit_generator.state = state["random"]

    @torch.no_grad()
    def _sample(self, batch: Batch, random: np.random.Generator, drops: Drops, no_motion: bool) -> WorldSample:
        device, dtype = self.vae.mean.device, self.vae.mean.dtype
        video = to_model(batch["video"].to(device)).to(dtype)
        tracks = TrackBatch.of(self._choose(batch, random), device)
        if drops.idle:
            idle = torch.from_numpy(random.random(len(video)) < drops.idle).to(device)
            video = torch.where(idle[:, None, None, None, None], video[:, :1], video)
            tracks = tracks.hidden(idle)
        text, track, anchor = draw_drops(len(tracks.ids), drops, random)
        seed = int(random.integers(1 << 31))
        boundary = self._boundary(video.shape[1], random, drops.reanchor) if drops.reanchor else None
        given, warped = self._condition(video, tracks.hidden(torch.from_numpy(track)), boundary, seed, anchor)
        everyone = torch.ones(len(tracks.ids), dtype=torch.bool)
        null = self._condition(video, tracks.hidden(everyone), boundary, seed, anchor)[0] if no_motion else None
        return WorldSample(
            video=video,
            latents=self.vae.encode(video).float(),
            conditioning=given,
            warped=warped,
            prompts=["" if drop else prompt for prompt, drop in zip(batch["captions"], text, strict=True)],
            no_motion=null,
        )

    def _condition(
        self, video: Tensor, tracks: TrackBatch, boundary: int | None, seed: int, dropped: np.ndarray
    ) -> tuple[Conditioning, Warped | None]:
        """A batch's conditioning in float32, and its warp. dropped (B,) bool: clips that lose the warped anchor."""
        if not self.anchored:
            return TrackConditioner(self.vae, self.geometry, seed).clip(video[:, 0], tracks).to(torch.float32), None
        conditioning, warped = condition(AnchoredConditioner(self.vae, self.geometry, seed), video, tracks, boundary)
        return conditioning.without_anchor(torch.from_numpy(dropped)).to(torch.float32), warped

    def _choose(self, batch: Batch, random: np.random.Generator) -> Sequence[Tracks]:
        arrays = (batch[key].numpy() for key in ("xy", "visible", "object_of"))
        return [
            choose(Tracks(xy, visible), objects, self.choice, random)
            for xy, visible, objects in zip(*arrays, strict=True)
        ]

    def _boundary(self, frames: int, random: np.random.Generator, share: float) -> int | None:
        """The frame from which on a later anchor counts, at the start of a chunk; None: the first one for all."""
        starts = [self.geometry.frames(latent) for latent in range(CHUNK, self.geometry.latents(frames), CHUNK)]
        return int(random.choice(starts)) if starts and random.random() < share else None


def condition(
    conditioner: AnchoredConditioner, video: Tensor, tracks: TrackBatch, boundary: int | None
) -> tuple[AnchoredConditioning, Warped]:
    """A clip's conditioning and warp, with the anchor taken anew from the true frame before `boundary`."""
    spans = [(0, tracks.frames)] if boundary is None else [(0, boundary), (boundary, tracks.frames)]
    memory, conditionings, warps = None, [], []
    for begin, end in spans:
        seen, span = max(begin - 1, 0), tracks.slice(begin, end)
        state = AnchoredState(Anchor.of(video[:, seen]).seen(tracks, seen), memory)
        conditioning, state = conditioner.continued(state, span)
        conditionings.append(conditioning)
        memory = state.memory
        if state.warped is not None:
            warps.append(state.warped)
    return AnchoredConditioning.join(conditionings), Warped.join(warps)


def draw_drops(clips: int, drops: Drops, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B,) bool each: which clips lose the prompt, the tracks, the anchor."""
    drawn = random.random(clips)
    both = drawn < drops.both
    text = both | ((drawn >= drops.both) & (drawn < drops.both + drops.text))
    begin = drops.both + drops.text
    track = both | ((drawn >= begin) & (drawn < begin + drops.track))
    return text, track, random.random(clips) < drops.anchor
