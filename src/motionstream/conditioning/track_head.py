"""The learned part of track conditioning: one 1×1×1 convolution over packed frames (paper Section 3.1, App. D)."""

from __future__ import annotations

from torch import Tensor, nn

from motionstream.conditioning.track_volume import CODE_WIDTH


class TrackHead(nn.Module):
    """Packed volume (B, T, 4·64, h, w) → (B, T, C, h, w). Frozen after the teacher's first stage."""

    def __init__(self, channels: int, frames_a_latent: int = 4) -> None:
        super().__init__()
        self.project = nn.Linear(frames_a_latent * CODE_WIDTH, channels)

    def forward(self, volume_BTDhw: Tensor) -> Tensor:
        mixed: Tensor = self.project(volume_BTDhw.movedim(2, -1)).movedim(-1, 2)
        return mixed
