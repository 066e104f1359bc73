"""The embedded model's conditioner: the paper's channels and those of the warped anchor. Beyond the paper.

Channels, in this order: first-frame mask (4) | latents of the first frame | track head's output | latents of the warped
anchor | its support (4) | anchor present (1).

Legend: B clips, F frames, T latents, C channels, h w latent cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.conditioning import Conditioning, TrackBatch, first_channels, track_volume
from motionstream.conditioning.track_volume import pack_frames
from motionstream.geometry import Geometry
from motionstream.tiny.affinity import affinity
from motionstream.tiny.anchor import OF_A_POINT, Anchor
from motionstream.tiny.warp import STRIDE, warp
from motionstream.vae import Memory, VideoVAE


@dataclass(frozen=True)
class AnchoredConditioning(Conditioning):
    """With the warped anchor.

    anchor (B, T, C, h, w): latents of the warped anchor; zero where it was dropped.
    support (B, T, 5, h, w): point density and, below 0, holes (4 frames); 1 where the anchor is present.
    """

    anchor: Tensor
    support: Tensor

    def prior(self) -> Tensor:
        """The warped anchor."""
        return self.anchor

    def without_anchor(self, clips: Tensor) -> AnchoredConditioning:
        """The warped anchor dropped from the clips marked in (B,) bool."""
        keep = (~clips).to(self.anchor)[:, None, None, None, None]
        return replace(self, anchor=self.anchor * keep, support=self.support * keep)


@dataclass(frozen=True)
class Warped:
    """The warped anchor of F frames in pixels.

    frames (B, F, 3, H, W) in [−1, 1]. support (B, F, 1, H/4, W/4) in [−1, 1]: above 0 how near points are, below 0
    holes, where nothing of the picture lands.
    """

    frames: Tensor
    support: Tensor

    @classmethod
    def join(cls, parts: Sequence[Warped]) -> Warped:
        """Spans of frames one after another."""
        return cls(torch.cat([part.frames for part in parts], 1), torch.cat([part.support for part in parts], 1))


@dataclass(frozen=True)
class AnchoredState:
    """anchor: the picture and its points. memory: the encoder's; None before the first chunk. warped: of the last
    chunk, None before the first; it is not part of a snapshot."""

    anchor: Anchor
    memory: Memory | None = None
    warped: Warped | None = None


class AnchoredConditioner:
    """Makes `AnchoredConditioning` with a VAE at one frame size. seed: of the points' identity codes."""

    def __init__(self, vae: VideoVAE, geometry: Geometry, seed: int = 0) -> None:
        self.vae, self.geometry, self.seed = vae, geometry, seed

    def clip(self, picture: Tensor, tracks: TrackBatch) -> AnchoredConditioning:
        """A whole clip (1 + 4n frames) that starts at `picture` (B, 3, H, W) in [−1, 1]."""
        return self.continued(AnchoredState(Anchor.of(picture).seen(tracks, 0)), tracks)[0]

    def open(self, picture: Tensor, latent: Tensor) -> AnchoredState:
        return AnchoredState(Anchor.of(picture))

    def step(
        self, state: AnchoredState, tracks: TrackBatch, shown: Tensor
    ) -> tuple[AnchoredConditioning, AnchoredState]:
        """The next frames of a stream. Where too many points are held, the last frame shown becomes the anchor."""
        anchor = state.anchor.renewed(shown) if state.anchor.too_many_held else state.anchor
        return self.continued(AnchoredState(anchor.following(tracks), state.memory), tracks)

    def continued(self, state: AnchoredState, tracks: TrackBatch) -> tuple[AnchoredConditioning, AnchoredState]:
        """The next frames: 1 + 4n if the state has no memory yet, else 4n. Points that are not in the anchor condition
        by their identity codes alone."""
        starts, anchor = state.memory is None, state.anchor
        warped = self.warp(anchor, tracks)
        dtype = anchor.picture.dtype
        latents, memory = self.vae.encode_step(warped.frames.to(dtype), state.memory)
        conditioning = AnchoredConditioning(
            # nothing has moved at the first frame: the warp's latent is the picture's
            first=first_channels(latents[:, :1], latents.shape[1], self.geometry, starts),
            volume=track_volume(tracks, self.geometry, self.seed, starts).to(dtype),
            anchor=latents,
            support=self._support(warped.support, starts).to(dtype),
        )
        return conditioning, AnchoredState(anchor.moved(tracks), memory, warped)

    def warp(self, anchor: Anchor, tracks: TrackBatch) -> Warped:
        """The anchor warped along the tracks' points and by those that are held where they were released."""
        birth_xy, born = anchor.places(tracks.ids)
        frames = tracks.frames
        return Warped(
            *warp(
                anchor.picture,
                anchor.affinity,
                torch.cat([tracks.xy, anchor.xy[:, None].expand(-1, frames, -1, -1)], 2),
                torch.cat([tracks.visible, anchor.held[:, None].expand(-1, frames, -1)], 2),
                torch.cat([birth_xy, anchor.birth_xy], 1),
                torch.cat([born.float(), anchor.held_weight()], 1),
            )
        )

    def outside(self, state: AnchoredState) -> float:
        return float(state.anchor.outside().max())

    def renewed(self, state: AnchoredState, shown: Tensor) -> AnchoredState:
        return replace(state, anchor=state.anchor.renewed(shown))

    def pack(self, state: AnchoredState) -> dict[str, Tensor]:
        anchor = {name: getattr(state.anchor, name) for name in ("picture", *OF_A_POINT)}
        memory = {f"memory.{index}": tensor for index, tensor in enumerate(state.memory or ())}
        count = torch.tensor(-1 if state.memory is None else len(state.memory))
        return {**anchor, **memory, "memories": count}

    def unpack(self, tensors: dict[str, Tensor]) -> AnchoredState:
        anchor = {name: tensors[name] for name in ("picture", *OF_A_POINT)}
        count = int(tensors["memories"])
        memory = None if count < 0 else tuple(tensors[f"memory.{index}"] for index in range(count))
        return AnchoredState(Anchor(affinity=affinity(anchor["picture"]), **anchor), memory)

    def conditioning(self, tensors: Sequence[Tensor]) -> AnchoredConditioning:
        return AnchoredConditioning(*tensors)

    def _support(self, support: Tensor, starts: bool) -> Tensor:
        pooled = F.avg_pool2d(support.flatten(0, 1), self.geometry.spatial_stride // STRIDE)
        packed = pack_frames(pooled.unflatten(0, support.shape[:2]), self.geometry, starts)
        return torch.cat([packed, torch.ones_like(packed[:, :, :1])], 2)
