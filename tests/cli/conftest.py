"""What tests of the program share: an empty working folder, a picture in it, and one small model for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.small import small_model, small_vae

from motionstream import model_folder
from motionstream.tiny import bundle

LIVE = model_folder.Live((64, 48), 24.0, chunk=3, sink=3, window=3, steps=2, shift=3.0)


@pytest.fixture(autouse=True)
def working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every test starts in a folder of its own, without the environment's debugging."""
    monkeypatch.setenv("MOTIONSTREAM_DEBUG", "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights; tests only read it."""
    folder = tmp_path_factory.mktemp("model")
    bundle.save_bundle(folder, "small", small_model(), small_vae(), LIVE, origin={})
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """boat.png in the working folder, (W, H) = (160, 90)."""
    path = tmp_path / "boat.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path
