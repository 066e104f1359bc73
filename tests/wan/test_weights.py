"""Weights on disk: nothing missing, nothing left over, nothing half loaded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from motionstream.dit import CONFIGS, VideoDiT
from motionstream.wan.weights import diffusers_name, load_weights, save_weights, wan_name

SMALL = replace(CONFIGS["tiny"], width=24, heads=2, layers=2, ffn=48, in_channels=5, text_dim=8, image_dim=6)


def model(seed: int = 0, in_channels: int = SMALL.in_channels) -> VideoDiT:
    torch.manual_seed(seed)
    return VideoDiT(replace(SMALL, in_channels=in_channels))


def equal(a: VideoDiT, b: VideoDiT) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def test_round_trip_is_exact(tmp_path: Path) -> None:
    saved, loaded = model(0), model(1)
    assert not equal(saved, loaded)
    save_weights(saved, tmp_path / "w.safetensors", {"made by": "a test"})
    load_weights(loaded, tmp_path / "w.safetensors")
    assert equal(saved, loaded)


def test_shards_and_the_diffusers_layout_load(tmp_path: Path) -> None:
    saved, loaded = model(0), model(1)
    state = {diffusers_name(name): value for name, value in saved.state_dict().items()}
    names = sorted(state)
    save_file({name: state[name] for name in names[::2]}, str(tmp_path / "a.safetensors"))
    save_file({name: state[name] for name in names[1::2]}, str(tmp_path / "b.safetensors"))
    load_weights(loaded, tmp_path)
    assert equal(saved, loaded)


def test_every_name_maps_there_and_back() -> None:
    names = list(model().state_dict())
    theirs = [diffusers_name(name) for name in names]
    assert len(set(theirs)) == len(names)
    assert [wan_name(name) for name in theirs] == names
    assert "blocks.1.attn2.add_k_proj.bias" in theirs
    assert "condition_embedder.image_embedder.ff.net.0.proj.weight" in theirs


def test_missing_and_unknown_names_are_said_and_nothing_is_written(tmp_path: Path) -> None:
    loaded, untouched = model(1), model(1)
    state = model(0).state_dict()
    state["blocks.0.extra"] = state.pop("blocks.1.modulation")
    save_file(state, str(tmp_path / "w.safetensors"))
    with pytest.raises(ValueError, match=r"missing: blocks\.1\.modulation; not known: blocks\.0\.extra"):
        load_weights(loaded, tmp_path)
    assert equal(loaded, untouched)


def test_wrong_shape_is_said(tmp_path: Path) -> None:
    save_weights(model(in_channels=3), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"patch_embedding\.weight is \(24, 3, 1, 2, 2\)"):
        load_weights(model(), tmp_path)


def test_widened_input_starts_at_zero(tmp_path: Path) -> None:
    narrow, wide = model(in_channels=3), model(1)
    save_weights(narrow, tmp_path / "w.safetensors")
    load_weights(wide, tmp_path, widen=True)
    weight = wide.patch_embedding.weight
    assert torch.equal(weight[:, :3], narrow.patch_embedding.weight)
    assert not weight[:, 3:].any()
    save_weights(wide, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="patch_embedding"):
        load_weights(narrow, tmp_path, widen=True)


def test_dtype_of_the_model_is_kept(tmp_path: Path) -> None:
    save_weights(model().bfloat16(), tmp_path / "w.safetensors")
    assert load_file(tmp_path / "w.safetensors")["head.head.weight"].dtype == torch.bfloat16
    loaded = model(1)
    load_weights(loaded, tmp_path)
    assert loaded.head.head.weight.dtype == torch.float32


def test_nothing_to_load(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(FileNotFoundError, match="no safetensors"):
            load_weights(model(), path)


def test_a_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_weights(model(), tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="is in both"):
        load_weights(model(), tmp_path)
