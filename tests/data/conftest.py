"""A handful of freely licensed pictures (assets/manifest.csv says whose) and worlds made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from motionstream.data.assets import AssetLibrary
from motionstream.data.synthetic import SyntheticWorlds

ASSETS = Path(__file__).parent / "assets"


@pytest.fixture(scope="session")
def library() -> AssetLibrary:
    return AssetLibrary(ASSETS)


@pytest.fixture(scope="session")
def worlds(library: AssetLibrary) -> SyntheticWorlds:
    """Small, short, without effects: what a point looks like is then up to its track alone."""
    return SyntheticWorlds(library, size=(160, 96), frames=17, seed=1, effects=False, points=200)
