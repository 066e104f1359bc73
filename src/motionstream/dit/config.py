"""Sizes of a `VideoDiT`, and the named table of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DiTConfig:
    """Everything that decides the shapes of a VideoDiT's weights.

    width: channels of a token. heads: attention heads of width / heads channels each.
    in_channels: channels of the input latents with all conditioning concatenated; out_channels: of the velocity.
    patch: (latents, rows, columns) of latent cells in a token; the first must be 1.
    text_dim, text_tokens: size of a text embedding and how many of them a prompt gives.
    freq_dim: sinusoids of the timestep. eps: of every norm but those of the image branch.
    image_dim: channels of CLIP image tokens (Wan 2.1 I2V's extra cross-attention), None without it.
    """

    width: int
    layers: int
    heads: int
    ffn: int
    in_channels: int
    out_channels: int
    text_dim: int
    text_tokens: int
    image_dim: int | None
    patch: tuple[int, int, int]
    freq_dim: int
    eps: float
    qk_norm: bool
    cross_attn_norm: bool

    def __post_init__(self) -> None:
        if self.width % self.heads or self.head_dim % 2:
            raise ValueError(f"width {self.width} over {self.heads} heads: heads must have an even, whole size")
        if self.head_dim < 6:
            raise ValueError(f"head size {self.head_dim}: rotary positions in time, y and x need at least 6")
        if self.patch[0] != 1:
            raise ValueError(f"patch {self.patch}: a token must not span several latents, send (1, rows, columns)")
        if self.freq_dim % 2:
            raise ValueError(f"freq_dim {self.freq_dim}: must be even")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def _wan(
    width: int,
    layers: int,
    heads: int,
    ffn: int,
    channels: tuple[int, int],
    text: tuple[int, int],
    image_dim: int | None = None,
) -> DiTConfig:
    """A row of the table: what all models of Wan's architecture share is filled in."""
    return DiTConfig(
        width=width,
        layers=layers,
        heads=heads,
        ffn=ffn,
        in_channels=channels[0],
        out_channels=channels[1],
        text_dim=text[0],
        text_tokens=text[1],
        image_dim=image_dim,
        patch=(1, 2, 2),
        freq_dim=256,
        eps=1e-6,
        qk_norm=True,
        cross_attn_norm=True,
    )


CONFIGS: dict[str, DiTConfig] = {
    "tiny": _wan(256, 8, 2, 1024, channels=(16, 16), text=(256, 64)),
    "wan2.1-1.3b": _wan(1536, 30, 12, 8960, channels=(16, 16), text=(4096, 512)),
    "wan2.1-1.3b-i2v": _wan(1536, 30, 12, 8960, channels=(36, 16), text=(4096, 512), image_dim=1280),
    "wan2.2-5b": _wan(3072, 30, 24, 14336, channels=(48, 48), text=(4096, 512)),
}
"""Published sizes. Conditioning adds input channels: `dataclasses.replace(CONFIGS[name], in_channels=…)`."""
