"""uint8 ↔ [−1, 1], there and back."""

from __future__ import annotations

import numpy as np
import torch

from motionstream.vae.pixels import from_image, to_frames, to_model, to_uint8


def test_every_value_comes_back() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_model(values)), values)
    assert to_model(values).aminmax() == (-1.0, 1.0)


def test_values_outside_are_clamped_and_the_rest_rounded() -> None:
    pixels = torch.tensor([-7.0, -1.0, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 1.0, 3.0])
    assert to_uint8(pixels).tolist() == [0, 0, 0, 1, 255, 255]


def test_a_picture_comes_back_as_a_frame() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    video = from_image(image)
    assert video.shape == (1, 1, 3, 6, 10)
    assert np.array_equal(to_frames(video[0])[0], image)


def test_a_mirrored_picture_of_negative_strides_is_taken_as_it_looks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    assert np.array_equal(to_frames(from_image(image[:, ::-1])[0])[0], image[:, ::-1])
