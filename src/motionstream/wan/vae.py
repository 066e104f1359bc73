"""Wan's full VAEs on whole clips or step by step (docs/architecture.md, section 8).

Wan 2.1: 8×8×4, 16 channels. Wan 2.2: 16×16×4, 48 channels, 2×2 pixels packed before the first layer. The layers are
those of Diffusers' `AutoencoderKLWan`; layout, normalisation and the streaming pass are here. Diffusers keeps the
feature cache of its causal convolutions in lists on the module, so that one module serves one clip at a time. Here
every call makes a list of its own from the caller's `Memory` and returns it as one: nothing of a stream stays on the
module, and streams and threads may share it.

Diffusers computes one frame, then four at a time, a latent each. So does this: the results are the same bits however
the clip is cut.

Legend: B clips, F frames, T latents, C channels, H W pixels, h w latent cells; with C first it is Diffusers' layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from motionstream.tensor_file import read_tensors
from motionstream.vae.causal import CausalVAE
from motionstream.vae.contract import Memory
from motionstream.wan.weights import check_weights, shapes_of

CLASS, CONVOLUTION = "AutoencoderKLWan", "WanCausalConv3d"
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
TEMPORAL = 4

CHANNELS_2_1 = 16
"""Of a latent of Wan 2.1, the only VAE whose original file Diffusers converts."""

NOTHING_YET = "Rep"
"""Diffusers' entry for a temporal upsampler that has seen its first latent and has nothing to remember yet."""

Cache = list[Any]
"""Diffusers' feature cache: for each causal convolution its last frames (B, C, 1 or 2, h, w), "Rep", or None."""


class WanVAE(CausalVAE):
    """A `VideoVAE` around an `AutoencoderKLWan`, for inference only: its weights have no gradient.

    It computes in its own dtype, returns the dtype of its input, and normalises in float32. Decoded pixels are clamped
    to [−1, 1].
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        config = network.config
        _check(config)
        self.network = network.requires_grad_(False)
        self.patch: int = config.patch_size or 1
        self.latent_channels: int = config.z_dim
        self.spatial_stride: int = self.patch * 2 ** (len(config.dim_mult) - 1)
        self.temporal_stride = TEMPORAL
        for name in ("mean", "scale"):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self._set_statistics()
        self.eval()

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Self:
        """Published weights in local files.

        path: a folder in Diffusers' layout (config.json, diffusion_pytorch_model.safetensors), or the pipeline's
        folder with that as `vae`; or Wan 2.1's original file (Wan2.1_VAE.pth), read without running code in it.
        Raises FileNotFoundError or ValueError that say what to fetch.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is nothing; give the folder vae of Wan's weights for Diffusers")
        config, state = _original(path) if path.is_file() else _folder(path)
        return cls(_network(config, state, path)).to(device, dtype)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        weight: Tensor = next(self.network.parameters())
        return weight.dtype

    def channels_last(self) -> Self:
        """Convolutions in the memory layout that GPUs are fastest in; the same results up to rounding."""
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv3d):
                layer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            elif isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def without_decoder(self) -> Self:
        """Free the decoder's weights, where a tiny one decodes (`WithDecoder`)."""
        self.network.decoder = self.network.post_quant_conv = None
        return self

    def encode_step(self, video: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        starts = memory is None
        self._check_video(video, starts)
        cache = to_cache(memory, self.network.encoder)
        pixels = rearrange(video.to(self.dtype), "b f c (h q) (w r) -> b (c r q) f h w", q=self.patch, r=self.patch)
        groups = pixels.split([1] * starts + [TEMPORAL] * (video.shape[1] // TEMPORAL), 2)
        parts = [
            self.network.quant_conv(self.network.encoder(group.contiguous(), feat_cache=cache, feat_idx=[0]))
            for group in groups
        ]
        mode = torch.cat(parts, 2)[:, : self.latent_channels].transpose(1, 2)
        return self.normalise(mode).to(video.dtype), to_memory(cache, video)

    def decode_step(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        starts = memory is None
        self._check_latents(latents)
        cache = to_cache(memory, self.network.decoder)
        raw = self.denormalise(latents).to(self.dtype).transpose(1, 2)
        parts: list[Tensor] = []
        for latent in raw.split(1, 2):
            hidden, first = self.network.post_quant_conv(latent.contiguous()), starts and not parts
            parts.append(self.network.decoder(hidden, feat_cache=cache, feat_idx=[0], first_chunk=first))
        pixels = torch.cat(parts, 2).clamp(-1, 1).to(latents.dtype)
        video = rearrange(pixels, "b (c r q) f h w -> b f c (h q) (w r)", q=self.patch, r=self.patch)
        return video, to_memory(cache, latents)

    def _check_video(self, video: Tensor, starts: bool) -> None:
        frames, (height, width) = video.shape[1], video.shape[3:]
        if (frames - starts) % TEMPORAL or frames == 0:
            raise ValueError(f"{frames} frames: a stream starts with 1 + 4n and goes on with 4n")
        if height % self.spatial_stride or width % self.spatial_stride:
            raise ValueError(
                f"frames of {width}×{height} pixels: width and height must be multiples of {self.spatial_stride}"
            )

    def _check_latents(self, latents: Tensor) -> None:
        if self.network.decoder is None:
            raise ValueError("this VAE was loaded without its decoder: load it again, or decode with a tiny one")
        if latents.shape[1] == 0 or latents.shape[2] != self.latent_channels:
            raise ValueError(
                f"{latents.shape[1]} latents of {latents.shape[2]} channels: send one or more of {self.latent_channels}"
            )

    def _set_statistics(self) -> None:
        config, device = self.network.config, next(self.network.parameters()).device
        self.mean = torch.tensor(config.latents_mean, dtype=torch.float32, device=device)
        self.scale = torch.tensor(config.latents_std, dtype=torch.float32, device=device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Called by `to`, `half`, …; the statistics move with the weights but stay float32."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_statistics()
        return self


def to_cache(memory: Memory | None, network: nn.Module) -> Cache:
    """A feature cache for one streaming pass through an encoder or a decoder, filled from the memory."""
    convolutions = sum(type(layer).__name__ == CONVOLUTION for layer in network.modules())
    filled = [NOTHING_YET if part.numel() == 0 else part for part in memory or ()]
    return [*filled, *[None] * (convolutions - len(filled))]


def to_memory(cache: Cache, like: Tensor) -> Memory:
    """A feature cache as tensors; "Rep" becomes one of shape (B, 0). like: a tensor of the batch and device.

    Convolutions over one frame have no entry, so that as many entries at the end stay unused.
    """
    used = [part for part in cache if part is not None]
    assert all(part is None for part in cache[len(used) :])
    return tuple(like.new_empty(like.shape[0], 0) if isinstance(part, str) else part for part in used)


def _check(config: Any) -> None:
    """Raises ValueError unless the streaming pass fits this network."""
    if 2 ** sum(config.temperal_downsample) != TEMPORAL:
        raise ValueError(f"temperal_downsample {config.temperal_downsample}: Wan's VAEs halve time twice")
    for name in ("latents_mean", "latents_std"):
        if len(config[name]) != config.z_dim:
            raise ValueError(f"{name} has {len(config[name])} numbers for {config.z_dim} channels: one a channel")


def _network(config: dict[str, Any], state: dict[str, Tensor], path: Path) -> nn.Module:
    """The network of a configuration, with every weight accounted for."""
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        network: nn.Module = AutoencoderKLWan.from_config(config)  # type: ignore[no-untyped-call]
    check_weights(shapes_of(state), shapes_of(network.state_dict()), path)
    network.load_state_dict(state, assign=True)
    return network


def _folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a folder in Diffusers' layout."""
    folder = path if (path / CONFIG).is_file() else path / "vae"
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{path}: holds no {name}; give the folder vae of Wan's weights for Diffusers")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = config.get("_class_name")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{folder / CONFIG}: not the description of a network: {error}") from None
    if found != CLASS:
        raise ValueError(f"{folder}: of class {found}, not {CLASS}; give the folder vae of Wan's weights for Diffusers")
    return config, read_tensors(folder / WEIGHTS)


def _original(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of Wan 2.1's original file, renamed by Diffusers."""
    from diffusers.loaders import single_file_utils

    renamed: Any = single_file_utils.convert_wan_vae_to_diffusers
    state = read_tensors(path)
    if not {"conv2.weight", "encoder.conv1.weight"} <= state.keys():
        raise ValueError(f"{path}: not Wan's own VAE file; if it is one of Diffusers, give the folder it lies in")
    if (channels := len(state["conv2.weight"])) != CHANNELS_2_1:
        raise ValueError(
            f"{path}: of {channels} channels, and of Wan's own files Diffusers reads Wan2.1_VAE.pth alone: "
            "for Wan 2.2 fetch the folder vae of Wan-AI/Wan2.2-TI2V-5B-Diffusers and give that"
        )
    return {"z_dim": channels, "base_dim": len(state["encoder.conv1.weight"])}, renamed(state)
