"""Tracks in files: what is written comes back, other frames are fitted, bad files answer in one ValueError."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from motionstream.tracks import Tracks, io

SIZE = (256, 144)


@pytest.fixture
def tracks() -> Tracks:
    rng = np.random.default_rng(0)
    xy = rng.uniform((0, 0), SIZE, (9, 5, 2)).astype(np.float32)
    return Tracks(xy, rng.random((9, 5)) > 0.3, np.array([3, 1, 4, 15, 9]))


def same(ours: Tracks, theirs: Tracks) -> None:
    np.testing.assert_array_equal(ours.xy, theirs.xy)
    np.testing.assert_array_equal(ours.visible, theirs.visible)


def test_npz_comes_back(tmp_path: Path, tracks: Tracks) -> None:
    io.save(tmp_path / "t.npz", tracks, SIZE)
    loaded = io.load(tmp_path / "t.npz", SIZE)
    same(loaded, tracks)
    np.testing.assert_array_equal(loaded.ids, tracks.ids)
    assert io.load_sized(tmp_path / "t.npz")[1] == SIZE


def test_another_frame_is_fitted_or_refused(tmp_path: Path, tracks: Tracks) -> None:
    io.save(tmp_path / "t.npz", tracks, SIZE)
    double = io.load(tmp_path / "t.npz", (512, 288))
    np.testing.assert_allclose(double.xy, 2 * tracks.xy, rtol=1e-6)
    square = io.load(tmp_path / "t.npz", (144, 144))
    np.testing.assert_allclose(square.xy[..., 0], tracks.xy[..., 0] - 56, atol=1e-4)
    outside = (square.xy[..., 0] < 0) | (square.xy[..., 0] >= 144)
    assert outside.any()
    assert not square.visible[outside].any()
    with pytest.raises(ValueError, match="256×144, but this one is 512×288"):
        io.load(tmp_path / "t.npz", (512, 288), mismatch="refuse")
    with pytest.raises(ValueError, match="mismatch 'bend'"):
        io.load(tmp_path / "t.npz", (512, 288), mismatch="bend")


def test_a_file_without_ids_gets_some(tmp_path: Path, tracks: Tracks) -> None:
    np.savez(tmp_path / "t.npz", xy=tracks.xy, visible=tracks.visible, size=SIZE)
    assert io.load(tmp_path / "t.npz").ids.tolist() == [0, 1, 2, 3, 4]


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a file ran code')",)


def write(path: Path, **changes: object) -> Path:
    arrays = {"xy": np.zeros((3, 2, 2), np.float32), "visible": np.ones((3, 2), bool), "size": np.array(SIZE)}
    np.savez(path, **{**arrays, **changes})  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"xy": np.zeros((3, 2))}, "send \\(frames, points, 2\\)"),
        ({"visible": np.ones((3, 1), bool)}, "send \\(3, 2\\)"),
        ({"visible": np.full((3, 2), "yes")}, "send booleans"),
        ({"xy": np.full((3, 2, 2), np.nan)}, "not finite"),
        ({"xy": np.full((3, 2, 2), "a")}, "t.npz"),
        ({"size": np.array([256, 0])}, "two positive whole numbers"),
        ({"size": np.array([256.0, 144.0])}, "two positive whole numbers"),
        ({"size": np.array(256)}, "two positive whole numbers"),
        ({"ids": np.array([1, 1])}, "repeats"),
        ({"ids": np.array([1.5, 2.5])}, "integers"),
        ({"xy": np.array([[Harm()]], dtype=object)}, "allow_pickle"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        io.load(write(tmp_path / "t.npz", **changes))
    assert "t.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_files_answer_in_one_value_error(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.npz").read_bytes()
    broken = {
        "empty": b"",
        "text": b"hello",
        "pickle": pickle.dumps(Harm()),
        "cut": whole[: len(whole) // 2],
        "scratched": whole[:60] + b"\xff" * 40 + whole[100:],
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            io.load(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    with pytest.raises(ValueError, match="no array named xy"):
        io.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        io.load(tmp_path / "absent.npz")


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.npz"
    np.savez_compressed(path, xy=np.zeros((100, 100, 2)), visible=np.ones((100, 100), bool), size=SIZE)
    monkeypatch.setattr(io, "LARGEST", 100_000)
    with pytest.raises(ValueError, match="unpacks to more"):
        io.load(path)


def test_wan_move_comes_back(tmp_path: Path, tracks: Tracks) -> None:
    io.save_wan_move(tmp_path / "t.npy", tmp_path / "v.npy", tracks)
    same(io.load_wan_move(tmp_path / "t.npy", tmp_path / "v.npy"), tracks)
    np.save(tmp_path / "b.npy", tracks.xy[None])
    np.save(tmp_path / "bv.npy", tracks.visible[None].astype(np.float32))
    same(io.load_wan_move(tmp_path / "b.npy", tmp_path / "bv.npy"), tracks)
    assert io.load_wan_move(tmp_path / "b.npy").visible.all()


def test_wan_move_refuses_other_shapes(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.zeros((2, 9, 5, 2)))
    with pytest.raises(ValueError, match=r"t.npy.*send numbers of shape \(F, N, 2\)"):
        io.load_wan_move(tmp_path / "t.npy")
    np.save(tmp_path / "o.npy", np.array([Harm()]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"o.npy"):
        io.load_wan_move(tmp_path / "o.npy")
    write(tmp_path / "z.npz")
    with pytest.raises(ValueError, match="not an npy"):
        io.load_wan_move(tmp_path / "z.npz")


def test_comfy_comes_back_where_points_are_seen(tmp_path: Path) -> None:
    xy = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    visible = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], bool)
    io.save_comfy(tmp_path / "t.json", Tracks(xy, visible))
    content = json.loads((tmp_path / "t.json").read_text())
    assert [len(points) for points in content] == [3, 4]
    loaded = io.load_comfy(tmp_path / "t.json")
    assert loaded.visible.sum(0).tolist() == [3, 4]
    np.testing.assert_array_equal(loaded.xy[:3, 0], xy[:3, 0])
    np.testing.assert_array_equal(loaded.xy[1, 1], xy[0, 1])  # hidden: where it was last seen


def test_comfy_takes_a_single_point(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"x": 1, "y": 2}, {"x": 3, "y": 4}]')
    assert io.load_comfy(tmp_path / "t.json").xy.tolist() == [[[1, 2]], [[3, 4]]]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "[[]]", "[1]", '[[{"x": 1}]]', '[[{"x": "1", "y": 2}]]', '[[{"x": NaN, "y": 2}]]', "[" * 99_999],
)
def test_bad_comfy_files_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ValueError, match=r"t\.json"):
        io.load_comfy(tmp_path / "t.json")
