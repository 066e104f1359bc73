"""A small untrained model folder, and a folder of its own for each test to write in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.small import small_model, small_vae

from motionstream import model_folder
from motionstream.tiny import bundle

LIVE = model_folder.Live((64, 48), 24.0, chunk=3, sink=3, window=3, steps=2, shift=3.0)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    bundle.save_bundle(folder, "small", small_model(), small_vae(), LIVE, origin={})
    return folder


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOTIONSTREAM_DEBUG", "")
    monkeypatch.chdir(tmp_path)
