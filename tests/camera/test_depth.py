"""Depth from files, from estimators that are there or not, and the guess that needs nothing."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from motionstream.camera.depth import DepthMap, estimator, from_relative, plane_guess, read_depth

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
DEPTH = np.linspace(1, 9, 48 * 64).reshape(48, 64)


def test_depth_is_read_from_every_kind_of_file(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", DEPTH.astype(np.float32))
    np.savez(tmp_path / "d.npz", depth=DEPTH)
    Image.fromarray((DEPTH * 1000).astype(np.uint16)).save(tmp_path / "d.png")
    for name, scale, error in (("d.npy", 1, 1e-6), ("d.npz", 1, 0), ("d.png", 1000, 1)):
        np.testing.assert_allclose(read_depth(tmp_path / name).depth, DEPTH * scale, atol=error)
        np.testing.assert_allclose(estimator(str(tmp_path / name))(PICTURE).depth, DEPTH * scale, atol=error)
    np.save(tmp_path / "i.npy", 1 / DEPTH)
    np.testing.assert_allclose(read_depth(tmp_path / "i.npy", inverse=True).depth, DEPTH)


def test_what_is_no_number_is_unknown(tmp_path: Path) -> None:
    holes = DEPTH.copy()
    holes[0, :4] = (0, -1, np.nan, np.inf)
    np.save(tmp_path / "d.npy", holes)
    found = read_depth(tmp_path / "d.npy").depth
    assert np.isnan(found[0, :4]).all()
    assert np.isfinite(found[1:]).all()


def test_a_file_that_is_no_depth_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.save(tmp_path / "colour.npy", np.ones((4, 4, 3)))
    np.save(tmp_path / "zero.npy", np.zeros((4, 4)))
    np.savez(tmp_path / "other.npz", disparity=np.ones((4, 4)))
    Image.fromarray(PICTURE).save(tmp_path / "photo.png")
    (tmp_path / "words.npy").write_text("words")
    (tmp_path / "words.npz").write_text("words")
    (tmp_path / "words.png").write_text("words")
    for name, says in (
        ("objects.npy", "Python objects"),
        ("colour.npy", "height, width"),
        ("zero.npy", "no positive number"),
        ("other.npz", "named depth, but disparity"),
        ("photo.png", "16 bits"),
        ("words.npy", "not a depth map"),
        ("words.npz", "not a depth map"),
        ("words.png", "not a depth map"),
    ):
        with pytest.raises(ValueError, match=says) as error:
            read_depth(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(FileNotFoundError):
        read_depth(tmp_path / "nowhere.npy")
    with pytest.raises(ValueError, match="ends in"):
        read_depth(tmp_path / "depth.txt")


def test_the_guess_is_smooth_ground_under_a_wall() -> None:
    depth = plane_guess((64, 48)).depth
    assert depth.shape == (48, 64)
    assert (np.diff(depth, axis=0) <= 1e-12).all(), "nearer towards the lower edge"
    assert np.ptp(depth[:20]) == 0
    assert depth[0, 0] / depth[-1, 0] > 3
    assert np.abs(np.diff(depth[:, 0], 2)).max() < 0.05 * depth.max()
    np.testing.assert_array_equal(depth, depth[:, :1].repeat(64, 1))


def test_a_map_is_laid_into_the_frame_as_its_picture_is() -> None:
    """A picture of 80 × 60 is cropped into 64 × 36; its map has half its size. Depth goes with x + y in the picture."""
    x, y = np.meshgrid(np.arange(40) * 2 + 1.0, np.arange(30) * 2 + 1.0)
    found = DepthMap(1 / (0.01 + 0.0001 * (x + y)), "a test", "").on((80, 60), (64, 36))
    column, row = np.meshgrid(np.arange(64) + 0.5, np.arange(36) + 0.5)
    expected = 1 / (0.01 + 0.0001 * (column / 0.8 + (row + 6) / 0.8))
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-6)
    with pytest.raises(ValueError, match="a depth map of 40×30 for a picture of 80×40"):
        DepthMap(np.ones((30, 40)), "a test", "").on((80, 40), (64, 36))


def test_relative_depth_is_near_where_it_is_large() -> None:
    depth = from_relative(np.array([[0.0, 5.0, 10.0]]))
    assert depth[0, 2] == pytest.approx(1)
    assert depth[0, 0] == pytest.approx(20)
    assert (np.diff(depth) < 0).all()
    assert np.isfinite(from_relative(np.zeros((2, 2)))).all()


@pytest.mark.parametrize(
    ("name", "weights", "says"),
    [
        ("sonar", None, "use plane, depth-anything, moge"),
        ("depth-anything", None, "Apache-2.0"),
        ("moge", None, "--download"),
        ("depth-anything", "nowhere", "no weights at nowhere"),
        ("moge", "nowhere.pt", "no weights at nowhere.pt"),
    ],
)
def test_an_estimator_that_is_not_there_says_what_to_do(name: str, weights: str | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        estimator(name, weights)


@pytest.fixture
def small_depth_anything(tmp_path: Path) -> Path:
    """A very small Depth Anything with random weights, in the published layout."""
    transformers = pytest.importorskip("transformers", reason="Depth Anything needs Transformers (extra: wan)")
    backbone = transformers.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        out_features=["stage1", "stage2"],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 16],
        fusion_hidden_size=16,
        head_hidden_size=8,
        reassemble_factors=[4, 2],
    )
    torch.manual_seed(0)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "DPTImageProcessor", "do_resize": true, "do_rescale": true, "do_normalize": true,'
        ' "size": {"height": 56, "width": 56}, "keep_aspect_ratio": true, "ensure_multiple_of": 14, "resample": 3,'
        ' "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}'
    )
    return tmp_path


def test_depth_anything_runs_from_weights_on_this_machine(small_depth_anything: Path) -> None:
    found = estimator("depth-anything", str(small_depth_anything))(PICTURE)
    assert found.depth.shape == (48, 64)
    assert found.depth.min() == pytest.approx(1)
    assert np.isfinite(found.depth).all()
    assert "Apache-2.0" in found.licence


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="Depth Anything needs Transformers (extra: wan)")
    with pytest.raises(ValueError, match="no weights for Transformers at"):
        estimator("depth-anything", str(tmp_path))


def test_moge_is_asked_as_its_package_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package: depth as `infer` returns it, infinite where it sees none, focal in widths."""
    (tmp_path / "moge-2.pt").touch()

    class MoGeModel:
        @classmethod
        def from_pretrained(cls, path: str) -> MoGeModel:
            assert path == str(tmp_path / "moge-2.pt")
            return cls()

        def eval(self) -> MoGeModel:
            return self

        def infer(self, image: torch.Tensor, use_fp16: bool) -> dict[str, Any]:
            assert (tuple(image.shape), use_fp16) == ((3, 48, 64), False)
            assert 0 <= image.min() < image.max() <= 1
            depth = torch.full((48, 64), 3.0)
            depth[0] = torch.inf
            return {"depth": depth, "intrinsics": torch.tensor([[0.5, 0, 0.5], [0, 0.7, 0.5], [0, 0, 1]])}

    for name in ("moge", "moge.model"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    package: Any = types.ModuleType("moge.model.v2")
    package.MoGeModel = MoGeModel
    monkeypatch.setitem(sys.modules, "moge.model.v2", package)
    found = estimator("moge", str(tmp_path / "moge-2.pt"))(PICTURE)
    assert np.isnan(found.depth[0]).all()
    assert (found.depth[1:] == 3).all()
    assert found.view == pytest.approx(90)
    assert found.lens((64, 48)).fx == pytest.approx(32)
    assert found.lens((64, 48), view=60).fx > 50


def test_moge_without_its_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pt").touch()
    monkeypatch.setitem(sys.modules, "moge", None)
    with pytest.raises(ValueError, match="package moge"):
        estimator("moge", str(tmp_path / "model.pt"))
