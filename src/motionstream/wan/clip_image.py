"""The CLIP image encoder of Wan 2.1's image-to-video models, through Transformers, from a folder on this machine.

It is the image tower of open_clip's XLM-RoBERTa ViT-H/14, in Diffusers' layout `image_encoder/` (a CLIPVisionModel).
Wan reads the tokens before the last of its layers: one for the picture and 16×16 for its patches, 1280 channels each.

Two ways to bring a picture to 224×224. Wan's own code *squashes* it, so that all of the frame is seen, without
smoothing; its models were trained so. Diffusers *crops* the middle out, as CLIP's own preprocessing does.

Legend: H W height and width, L tokens, D channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from motionstream.wan.resident import Keep, Resident

IMAGE_ENCODER = "image_encoder"
SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, a channel each, in [0, 1] (Radford et al., arXiv 2103.00020)."""

Fitting = Literal["squash", "crop"]
FITTINGS = ("squash", "crop")
Picture = npt.NDArray[np.uint8]


class ClipImageEncoder:
    """A picture → its CLIP tokens.

    folder: has image_encoder/. device, dtype: it computes there, in that. keep: where the weights (1.2 GiB in bfloat16)
    live between pictures. fitting: see above.

    Nothing is read before the first use, which raises FileNotFoundError or ValueError saying what is missing.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        keep: Keep = "device",
        fitting: Fitting = "squash",
    ) -> None:
        if fitting not in FITTINGS:
            raise ValueError(f"fitting {fitting!r}: one of {', '.join(FITTINGS)}")
        self.folder, self.dtype, self.fitting = Path(folder), dtype, fitting
        self.resident: Resident[nn.Module] = Resident(self._load, device, keep)

    def encode(self, picture: Picture) -> Tensor:
        """(H, W, 3) uint8 → (1, L, D), for Wan (1, 257, 1280), on the CPU."""
        with self.resident.ready() as network:
            size = int(network.config.image_size)  # type: ignore[union-attr, arg-type]
            pixels = prepared(picture, self.fitting, size).to(self.resident.device, self.dtype)
            tokens: Tensor = network(pixel_values=pixels, output_hidden_states=True).hidden_states[-2].cpu()
        return tokens

    def _load(self) -> nn.Module:
        from transformers import CLIPVisionModel

        folder = self.folder / IMAGE_ENCODER
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
            raise FileNotFoundError(
                f"no config.json and safetensors in {folder}: name a folder of Wan 2.1 I2V in Diffusers' layout, "
                f"with {IMAGE_ENCODER}/"
            )
        network: nn.Module = CLIPVisionModel.from_pretrained(
            str(folder), dtype=self.dtype, local_files_only=True, use_safetensors=True
        )
        return network.to(self.dtype)


def prepared(picture: Picture, fitting: Fitting, size: int = SIZE) -> Tensor:
    """(H, W, 3) uint8 → (1, 3, size, size) float32, normalised. Raises ValueError on another shape or type."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise ValueError(f"picture of shape {picture.shape}, {picture.dtype}: send (height, width, 3) of uint8")
    fitted = _squashed(picture, size) if fitting == "squash" else _cropped(picture, size)
    return (fitted - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def _squashed(picture: Picture, size: int) -> Tensor:
    """All of the picture, its shape given up: (1, 3, size, size) in about [0, 1], bicubic without smoothing."""
    whole = torch.from_numpy(np.array(picture)).movedim(-1, 0)[None].float() / 255
    return F.interpolate(whole, size=(size, size), mode="bicubic", align_corners=False)


def _cropped(picture: Picture, size: int) -> Tensor:
    """The middle square: (1, 3, size, size) in [0, 1], bicubic with smoothing, in bytes as Pillow does it."""
    height, width = picture.shape[:2]
    short = min(height, width)
    columns, rows = size * width // short, size * height // short
    smaller = np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BICUBIC))
    top, left = (rows - size) // 2, (columns - size) // 2
    middle = smaller[top : top + size, left : left + size]
    return torch.from_numpy(middle.copy()).movedim(-1, 0)[None].float() / 255
