"""The CLIP image encoder of Wan 2.1's image-to-video models, through Transformers, from a local folder.

It is the image tower of open_clip's XLM-RoBERTa ViT-H/14, in Diffusers' layout `image_encoder/` (a CLIPVisionModel).
Wan reads the tokens before the last of its layers: one for the picture and 16×16 for its patches, 1280 channels each.

As in Wan's own code the whole frame is resized to 224×224, without keeping its aspect ratio and without antialiasing:
its models were trained so. (Diffusers crops the middle square.)

Legend: H W height and width, L tokens, D channels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from motionstream.wan.lazy_encoder import LazyEncoder

IMAGE_ENCODER = "image_encoder"
SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, a channel each, in [0, 1] (Radford et al., arXiv 2103.00020)."""

Picture = npt.NDArray[np.uint8]


class ClipImageEncoder(LazyEncoder):
    """A picture → its CLIP tokens. The weights take 1.2 GiB in bfloat16. See `LazyEncoder` for the arguments."""

    transformers_class, subfolder = "CLIPVisionModel", IMAGE_ENCODER

    def encode(self, picture: Picture) -> Tensor:
        """(H, W, 3) uint8 → (1, L, D), for Wan (1, 257, 1280), on the CPU."""
        with self.network() as network:
            size = int(network.config.image_size)  # type: ignore[union-attr, arg-type]
            pixels = preprocessed(picture, size).to(self.device, self.dtype)
            tokens: Tensor = network(pixel_values=pixels, output_hidden_states=True).hidden_states[-2].cpu()
        return tokens


def preprocessed(picture: Picture, size: int = SIZE) -> Tensor:
    """(H, W, 3) uint8 → (1, 3, size, size) float32, normalised. Raises ValueError on another shape or type."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise ValueError(f"picture of shape {picture.shape}, {picture.dtype}: send (height, width, 3) of uint8")
    whole = torch.from_numpy(np.array(picture)).movedim(-1, 0)[None].float() / 255
    square = F.interpolate(whole, size=(size, size), mode="bicubic", align_corners=False)
    return (square - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
