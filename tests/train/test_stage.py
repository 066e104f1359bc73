"""Clips, a row each, in one picture."""

from __future__ import annotations

import numpy as np
import torch

from motionstream.train.stage import contact_sheet


def test_frames_stand_side_by_side_and_clips_below_one_another() -> None:
    first = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 2, 4) + 10
    second = torch.full((2, 3, 2, 4), 99, dtype=torch.uint8)
    sheet = contact_sheet([first, second])
    assert sheet.shape == (4, 12, 3)
    assert sheet.dtype == np.uint8
    assert sheet[:2, ::4, 0].tolist() == [[10, 11, 12]] * 2
    assert (sheet[2:, :8] == 99).all()
    assert not sheet[2:, 8:].any(), "a shorter clip ends in black"


def test_pixels_keep_their_places_and_colours() -> None:
    clip = torch.randint(0, 256, (1, 3, 5, 7), dtype=torch.uint8)
    assert np.array_equal(contact_sheet([clip]), clip[0].permute(1, 2, 0).numpy())
