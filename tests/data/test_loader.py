from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from motionstream.data.assets import AssetLibrary
from motionstream.data.loader import Loader, loader
from motionstream.data.synthetic import Batch, SyntheticWorlds

ASSETS = Path(__file__).parent / "assets"

FIELDS = ("video", "xy", "visible", "object_of")


@pytest.fixture(scope="module")
def small(library: AssetLibrary) -> SyntheticWorlds:
    return SyntheticWorlds(library, size=(64, 48), frames=5, seed=2, points=24)


def same(a: Batch, b: Batch) -> bool:
    return a["captions"] == b["captions"] and all(torch.equal(a[name], b[name]) for name in FIELDS)


def test_shapes_and_types(small: SyntheticWorlds) -> None:
    batch = next(Loader(small, 3, workers=0))
    assert {name: (tuple(batch[name].shape), batch[name].dtype) for name in FIELDS} == {
        "video": ((3, 5, 3, 48, 64), torch.uint8),
        "xy": ((3, 5, 24, 2), torch.float32),
        "visible": ((3, 5, 24), torch.bool),
        "object_of": ((3, 24), torch.int64),
    }
    assert len(batch["captions"]) == 3


def test_the_order_does_not_depend_on_the_workers_and_goes_on_where_it_was(small: SyntheticWorlds) -> None:
    alone = Loader(small, 2, workers=0)
    expected = [next(alone) for _ in range(5)]
    assert not same(expected[0], expected[1])
    interrupted = Loader(small, 2, workers=2)
    assert all(same(next(interrupted), batch) for batch in expected[:2])
    resumed = Loader(small, 2, workers=0)
    resumed.load_state_dict(interrupted.state_dict())
    assert all(same(next(resumed), batch) for batch in expected[2:])


def test_going_back_throws_away_what_was_made_ahead(small: SyntheticWorlds) -> None:
    data = Loader(small, 2, workers=0)
    first = next(data)
    start = {"next_batch": 0}
    next(data)
    data.load_state_dict(start)
    assert same(next(data), first)
    assert data.state_dict() == {"next_batch": 1}


def test_the_probe_stays_the_same_and_takes_nothing_from_the_order(small: SyntheticWorlds) -> None:
    data = Loader(small, 2, workers=0)
    probe = data.probe(2)
    first = next(data)
    assert same(data.probe(2), probe)
    assert same(first, next(Loader(small, 2, workers=0)))
    assert not torch.equal(probe["video"], first["video"])


@dataclass(frozen=True)
class Recipe:
    size: tuple[int, int] = (64, 48)
    frames: int = 5
    batch: int = 2
    seed: int = 2
    device: str = "cpu"
    effect_share: float = 1.0
    variety: float = 0.0


def test_a_recipe_says_it_all() -> None:
    data = loader(Recipe(), ASSETS)
    assert (data.workers, data.batch, data.worlds.seed, data.worlds.effects) == (1, 2, 2, 1.0)
    assert next(Loader(data.worlds, 2, workers=0))["video"].shape == (2, 5, 3, 48, 64)


def test_an_empty_batch_is_refused(small: SyntheticWorlds) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Loader(small, 0)


def test_a_fault_in_a_worker_names_the_picture(tmp_path: object) -> None:
    library = AssetLibrary(ASSETS)
    library.backgrounds = [library.backgrounds[0].__class__(ASSETS / "gone.jpg", "photo", "", "", "", "train")]
    data = Loader(SyntheticWorlds(library, (64, 48), 5), 1, workers=1)
    with pytest.raises(ValueError, match=r"gone\.jpg"):
        next(data)
