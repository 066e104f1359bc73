"""`VideoDiT`: Wan's video transformer, as teacher, masked student and cached student.

Parameter names are those of Wan's original weights; `weights.py` maps the Diffusers layout.
Legend: B batch, T latents, S tokens of a latent, L text or image tokens, C channels, H W latent cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from motionstream.dit.attention import Attend, Kernel, WholeAttention
from motionstream.dit.cache import RollingCache
from motionstream.dit.config import DiTConfig
from motionstream.dit.layers import Block, Head, ImageEmbedding, LayerContext, timestep_sinusoid
from motionstream.dit.mask import ChunkMask, MaskedAttention
from motionstream.dit.padding import collapse
from motionstream.dit.rope import rotary_table

Over = ChunkMask | RollingCache | None
"""What the latents of a pass attend to: a clip under a mask, a cache and themselves, or (None) each other."""


@dataclass(frozen=True)
class TextContext:
    """Cross-attention keys and values of a prompt (and picture), one entry a layer. Made once per prompt.

    bias (B, L) float32: added to the logits of the text's keys, None without. fixed: the tensors are buffers that the
    next prompt will be written into, so nothing may be derived from them.
    """

    layers: tuple[LayerContext, ...]
    bias: Tensor | None = None
    fixed: bool = False

    def detach(self) -> TextContext:
        layers = tuple(tuple((k.detach(), v.detach()) for k, v in layer) for layer in self.layers)
        return replace(self, layers=layers)


class VideoDiT(nn.Module):
    """Predicts the velocity of noisy latents.

    What latents attend to is an argument of `forward`: each other (teacher), each other under a chunk mask (masked
    student), or a rolling cache (cached student). The weights are the same.
    """

    def __init__(self, config: DiTConfig, *, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.config = config
        self.kernel = kernel
        width, patch = config.width, config.patch
        self.patch_embedding = nn.Conv3d(config.in_channels, width, kernel_size=patch, stride=patch)
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, width), nn.GELU(approximate="tanh"), nn.Linear(width, width)
        )
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, width * 6))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.layers)])
        self.head = Head(config)
        if config.image_dim is not None:
            self.img_emb = ImageEmbedding(config.image_dim, width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Wan's initialisation for training from nothing: the network starts by predicting zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        if self.patch_embedding.bias is not None:
            nn.init.zeros_(self.patch_embedding.bias)
        for embedding in (self.text_embedding, self.time_embedding):
            for module in embedding:
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
        for modulated in (*self.blocks, self.head):
            nn.init.normal_(modulated.get_parameter("modulation"), std=self.config.width**-0.5)
        nn.init.zeros_(self.head.head.weight)

    def forward(
        self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, over: Over = None, commit: bool = False
    ) -> Tensor:
        """Velocity (B, T, out_channels, H, W) of latents (B, T, in_channels, H, W).

        x: noisy latents with all conditioning channels concatenated; H and W multiples of the patch.
        t: network timesteps in 0…1000 (1000 = noise), (B,) or one a latent (B, T); may be on the host.
        context: text embeddings (B, L, text_dim), padded to the length the weights were trained with, or the
            `TextContext` made of them, which saves the work at every call (and is how a picture's CLIP tokens come in).
        over: what each latent attends to. None: all latents of x (teacher). A mask: what it allows (masked student);
            with teacher forcing T is twice the clip, [clean | noisy]. A cache: its past and x, the next chunk (cached
            student). commit: store this chunk, which should be clean with t = 0, in the cache; without it the cache
            stays as it is.

        Raises ValueError on shapes that do not fit the configuration, the mask or the cache.
        """
        self.check(x_BTCHW, t, over, commit)
        if isinstance(context, Tensor):
            context = self.text_context(context)
        attend_to = self._attention(x_BTCHW, over, commit)
        time_BTW, timestep_BT6W = self.embed_time(t)
        x = self.patchify(x_BTCHW)
        for layer, block in enumerate(self.blocks):
            x = block(x, timestep_BT6W, context.layers[layer], attend_to, layer, self.kernel, context.bias)
        if isinstance(over, RollingCache) and commit:
            over.advance(x_BTCHW.shape[1])
        return self.unpatchify(self.head(x, time_BTW), x_BTCHW.shape[-2])

    def commit(self, x_BTCHW: Tensor, t: Tensor, context: Tensor | TextContext, cache: RollingCache) -> None:
        """`forward` with commit, where only the cache is needed."""
        self(x_BTCHW, t, context, cache, commit=True)

    def text_context(
        self, text: Tensor, image: Tensor | None = None, lengths: Sequence[int] | None = None
    ) -> TextContext:
        """Keys and values of all layers for text embeddings (B, L, text_dim) and CLIP tokens (B, L, image_dim).

        lengths: of each clip's real tokens; what follows counts as zeros up to the text_tokens of the configuration,
        as Wan pads, and is kept as one key (`padding.py`). Not given: every token is a key.
        Gradient flows through it; call it within the training step. Raises ValueError if the model needs a picture and
        has none, or the reverse, and on lengths that do not fit the text.
        """
        if text.ndim != 3 or text.shape[-1] != self.config.text_dim:
            raise ValueError(f"text of shape {tuple(text.shape)}: send (batch, tokens, {self.config.text_dim})")
        if (image is None) != (self.config.image_dim is None):
            need = "needs" if image is None else "does not take"
            raise ValueError(f"this model {need} CLIP image tokens (image_dim {self.config.image_dim})")
        bias = None
        if lengths is not None:
            text, bias = collapse(text, lengths, self.config.text_tokens)
        text = self.text_embedding(text)
        picture = None if image is None else self.img_emb(image)
        return TextContext(tuple(cast(Block, block).cross_attn.context(text, picture) for block in self.blocks), bias)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of tokens for latents of this height and width."""
        return height // self.config.patch[1], width // self.config.patch[2]

    def _attention(self, x: Tensor, over: Over, commit: bool) -> Attend:
        grid, head_dim = self.grid(*x.shape[-2:]), self.config.head_dim
        if isinstance(over, RollingCache):
            return over.attention(grid, x.shape[1], x.device, self.kernel, commit)
        if over is not None:
            return MaskedAttention(over, grid, head_dim, x.device, self.kernel)
        return WholeAttention(rotary_table(range(x.shape[1]), grid, head_dim, x.device), self.kernel)

    def embed_time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps (B,) or (B, T) → embedding (B, T or 1, width) and projection (B, T or 1, 6, width), float32."""
        t = t.to(self.head.head.weight.device)
        if t.ndim == 1:
            t = t[:, None]
        # Never in half precision by autocast: every layer adds this to its own modulation.
        with torch.autocast(t.device.type, enabled=False):
            waves = timestep_sinusoid(t, self.config.freq_dim)
            time = self.time_embedding(waves.to(self.head.head.weight.dtype))
            return time.float(), self.time_projection(time).float().unflatten(-1, (6, -1))

    def patchify(self, x_BTCHW: Tensor) -> Tensor:
        """Wan's patch convolution as the matrix product it is: (B, T, S, width)."""
        _, p, q = self.config.patch
        cells = rearrange(x_BTCHW, "b t c (h p) (w q) -> b t (h w) (c p q)", p=p, q=q)
        conv = self.patch_embedding
        return F.linear(cells.to(conv.weight.dtype), conv.weight.flatten(1), conv.bias)

    def unpatchify(self, tokens_BTSC: Tensor, height: int) -> Tensor:
        _, p, q = self.config.patch
        return rearrange(tokens_BTSC, "b t (h w) (p q c) -> b t c (h p) (w q)", h=height // p, p=p, q=q)

    def check(self, x: Tensor, t: Tensor, over: Over, commit: bool) -> None:
        """Raises ValueError as `forward` does."""
        _, p, q = self.config.patch
        if x.ndim != 5 or x.shape[2] != self.config.in_channels or x.shape[3] % p or x.shape[4] % q:
            raise ValueError(
                f"latents of shape {tuple(x.shape)}: send (batch, latents, {self.config.in_channels}, "
                f"rows in multiples of {p}, columns in multiples of {q})"
            )
        batch, latents = x.shape[:2]
        if t.shape not in ((batch,), (batch, latents)):
            raise ValueError(f"timesteps of shape {tuple(t.shape)}: send ({batch},) or ({batch}, {latents})")
        if isinstance(over, ChunkMask) and over.latents != latents:
            raise ValueError(f"the mask is for {over.latents} latents, x has {latents}")
        if isinstance(over, RollingCache):
            rows, columns = self.grid(*x.shape[-2:])
            held = over.keys.shape[1], over.keys.shape[3]
            if held != (batch, rows * columns):
                raise ValueError(
                    f"the cache is for batch {held[0]} of {held[1]} tokens a latent, x is {batch} of {rows * columns}"
                )
        elif commit:
            raise ValueError("commit=True without a cache: send the cache to commit to")
