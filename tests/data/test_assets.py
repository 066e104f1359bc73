from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motionstream.data.assets import KEPT, AssetLibrary, read_rgba
from motionstream.data.synthetic import SyntheticWorlds

ASSETS = Path(__file__).parent / "assets"


def manifest_rows() -> list[dict[str, str]]:
    with (ASSETS / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def paths(library: AssetLibrary) -> set[str]:
    return {str(asset.path.relative_to(ASSETS)) for asset in library.cutouts + library.backgrounds}


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_split_holds_its_own_pictures_and_no_others(split: str) -> None:
    wanted = {row["file"] for row in manifest_rows() if row["use"] == split}
    assert wanted
    assert paths(AssetLibrary(ASSETS, split)) == wanted


def test_no_held_out_picture_is_ever_loaded_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    library = AssetLibrary(ASSETS, "train")
    loaded = set()
    original = library.load
    monkeypatch.setattr(library, "load", lambda asset: loaded.add(asset.use) or original(asset))
    worlds = SyntheticWorlds(library, size=(64, 48), frames=1)
    for index in range(40):
        worlds.world(index)
    assert loaded == {"train"}


def test_all_splits_together() -> None:
    assert paths(AssetLibrary(ASSETS, None)) == {row["file"] for row in manifest_rows()}


def test_pictures_keep_straight_alpha_and_are_decoded_once(library: AssetLibrary) -> None:
    asset = library.cutouts[0]
    pixels = library.load(asset)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 4
    assert pixels[..., 3].min() == 0
    assert library.load(asset) is pixels


def test_the_cache_is_bounded_and_does_not_travel() -> None:
    library = AssetLibrary(ASSETS)
    empty = len(pickle.dumps(library))
    for asset in library.cutouts:
        library.load(asset)
    assert read_rgba.cache_info().maxsize == KEPT
    assert len(pickle.dumps(library)) == empty


def test_kinds_are_drawn_by_weight_not_by_number(library: AssetLibrary) -> None:
    rng = np.random.default_rng(0)
    drawn = [library.choose_cutout(rng) for _ in range(2000)]
    share = {kind: sum(a is not None and a.kind == kind for a in drawn) / 2000 for kind in ("photo", "cartoon3d")}
    patches = sum(asset is None for asset in drawn) / 2000
    assert patches == pytest.approx(0.40, abs=0.05)
    assert share["photo"] == pytest.approx(0.20, abs=0.04)
    assert share["cartoon3d"] == pytest.approx(0.13, abs=0.04)


def plain_folder(root: Path) -> Path:
    for name in ("cutouts", "backgrounds"):
        (root / name).mkdir()
    Image.new("RGBA", (40, 30), (200, 30, 30, 255)).save(root / "cutouts" / "red_box.png")
    Image.new("RGB", (200, 120), (30, 90, 30)).save(root / "backgrounds" / "green.png")
    return root


def test_any_folder_of_pictures_will_do(tmp_path: Path) -> None:
    library = AssetLibrary(plain_folder(tmp_path))
    assert [asset.caption for asset in library.cutouts] == ["red box"]
    clip = SyntheticWorlds(library, size=(64, 48), frames=5).sample(0)
    assert clip.video.shape == (5, 48, 64, 3)


def test_a_folder_without_cutouts_moves_pieces_of_its_photographs(tmp_path: Path) -> None:
    (plain_folder(tmp_path) / "cutouts" / "red_box.png").unlink()
    worlds = SyntheticWorlds(AssetLibrary(tmp_path), size=(64, 48), frames=5)
    assert all(len(worlds.world(index).layers) > 1 for index in range(5))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no assets folder at .*nowhere"):
        AssetLibrary(tmp_path / "nowhere")


def test_an_empty_folder_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="put photographs in backgrounds/"):
        AssetLibrary(tmp_path)


def test_an_unknown_split_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="train, heldout, heldout-far"):
        AssetLibrary(ASSETS, "test")


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    broken = plain_folder(tmp_path) / "backgrounds" / "green.png"
    broken.write_bytes(broken.read_bytes()[:60])
    library = AssetLibrary(tmp_path)
    with pytest.raises(ValueError, match=r"cannot read the picture .*green\.png"):
        library.load(library.backgrounds[0])


def test_a_picture_that_is_listed_but_gone_is_named(tmp_path: Path) -> None:
    library = AssetLibrary(plain_folder(tmp_path))
    library.backgrounds[0].path.unlink()
    with pytest.raises(ValueError, match=r"green\.png is listed .* not there"):
        library.load(library.backgrounds[0])


def test_a_manifest_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,use\nbackgrounds/a.jpg,train\n")
    with pytest.raises(ValueError, match="lacks the columns author, caption, kind, licence"):
        AssetLibrary(tmp_path)
