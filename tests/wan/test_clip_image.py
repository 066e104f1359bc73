"""CLIP's image tower from a local folder: Transformers' outputs, and Wan's own preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F

from motionstream.wan.clip_image import DEVIATION, IMAGE_ENCODER, MEAN, ClipImageEncoder, preprocessed

pytest.importorskip("transformers")

PIXELS, PATCH, WIDTH = 28, 7, 32
TOKENS = 1 + (PIXELS // PATCH) ** 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random tower of three layers."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    root = tmp_path_factory.mktemp("wan")
    CLIPVisionModel(CLIPVisionConfig(image_size=PIXELS, patch_size=PATCH, hidden_act="gelu", **sizes)).save_pretrained(
        root / IMAGE_ENCODER
    )
    return root


def encoder(folder: Path, **options: Any) -> ClipImageEncoder:
    return ClipImageEncoder(folder, **{"dtype": torch.float32, **options})


def picture(height: int = 90, width: int = 160, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth colours with noise on them."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:height, :width]
    waves = 128 + 90 * np.sin(xs[..., None] / (9, 17, 23) + ys[..., None] / (31, 13, 7))
    return (waves + rng.integers(0, 30, (height, width, 3))).clip(0, 255).astype(np.uint8)


def test_it_reads_what_comes_before_the_last_layer(folder: Path) -> None:
    from transformers import CLIPVisionModel

    encoded = encoder(folder).encode(picture())
    assert encoded.shape == (1, TOKENS, WIDTH)
    network = CLIPVisionModel.from_pretrained(folder / IMAGE_ENCODER, dtype=torch.float32).eval()
    inputs: list[torch.Tensor] = []
    last = [module for name, module in network.named_modules() if name.endswith("layers.2")]
    assert len(last) == 1
    last[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        network(pixel_values=preprocessed(picture(), PIXELS))
    torch.testing.assert_close(encoded, inputs[0], atol=1e-6, rtol=1e-6)


def test_pixels_are_those_of_wans_own_code() -> None:
    """In [−1, 1], bicubic to the square whatever the shape, then to [0, 1], then normalised."""
    given = picture(48, 84)
    pixels = torch.from_numpy(given).movedim(-1, 0)[None].float() / 127.5 - 1
    square = F.interpolate(pixels, size=(224, 224), mode="bicubic", align_corners=False)
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    expected = (square * 0.5 + 0.5 - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(preprocessed(given), expected, atol=1e-4, rtol=0)


def test_a_flat_picture_is_its_colour() -> None:
    flat = np.full((30, 50, 3), (255, 0, 128), np.uint8)
    pixels = preprocessed(flat, 8)[0] * torch.tensor(DEVIATION)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    torch.testing.assert_close(pixels.amax((1, 2)), torch.tensor([1.0, 0.0, 128 / 255]), atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels.amin((1, 2)), torch.tensor([1.0, 0.0, 128 / 255]), atol=1e-4, rtol=0)


def test_the_sizes_are_wans() -> None:
    """ViT-H/14 at 224: 257 tokens of 1280 channels."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 2, "num_attention_heads": 16}
    with torch.device("meta"):
        network = CLIPVisionModel(CLIPVisionConfig(image_size=224, patch_size=14, **sizes))
        states = network(pixel_values=torch.zeros(1, 3, 224, 224), output_hidden_states=True).hidden_states
    assert states[-2].shape == (1, 257, 1280)


def test_pictures_differ_and_the_dtype_is_the_one_given(folder: Path) -> None:
    encode = encoder(folder, offload=True)
    first = encode.encode(picture())
    assert torch.equal(encode.encode(picture()), first)
    assert not torch.equal(encode.encode(picture(seed=1)), first)
    assert encoder(folder, dtype=torch.bfloat16).encode(picture()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "bad", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((0, 9, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(bad: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"picture of shape .*: send \(height, width, 3\) of uint8"):
        preprocessed(bad)
    with pytest.raises(ValueError, match="float32"):
        preprocessed(np.zeros((9, 9, 3), np.float32))  # type: ignore[arg-type]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"image_encoder: name a folder of Wan in Diffusers' layout"):
        encoder(tmp_path).encode(picture())
