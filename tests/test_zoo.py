"""A model on disk is what was saved, or an error that says what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.stream.small_bundle import PROMPT, calm_vae, dragged, open_small, photo, save_small

import motionstream
from motionstream import Tracks, model_folder, zoo
from motionstream.fast.fuse import FusedDiT, fuse
from motionstream.fast.fuse_block import ConstantContext
from motionstream.tiny import bundle
from motionstream.tiny.finisher import finisher_of

CPU = torch.device("cpu")
WEIGHTS = tuple(bundle.FILES.values())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "small"))


def test_what_is_saved_is_loaded(saved: Path) -> None:
    model = open_small(saved, fused=False)
    assert (model.name, model.size, model.fps) == ("small", (48, 32), 24.0)
    assert (model.rollout_config.chunk, model.rollout_config.sink, model.rollout_config.window) == (3, 3, 3)
    assert model.rollout_config.times == pytest.approx((1, 0.75))
    for name, weight in calm_vae().state_dict().items():
        torch.testing.assert_close(model.vae.state_dict()[name], weight, rtol=2**-8, atol=0)
    assert not any(weight.requires_grad for part in (model.network, model.vae) for weight in part.parameters())
    assert not model.network.training


def test_a_model_without_detail_shows_decoded_frames(saved: Path, folder: Path) -> None:
    rewritten(folder, lambda header: header.pop("detail"))
    plain, whole = open_small(folder), open_small(saved)
    assert finisher_of(plain).detail is None
    assert finisher_of(whole).detail is not None
    assert plain.hash == whole.hash, "the file is still named"
    apart = np.abs(dragged(plain.open(photo()), 2).astype(int) - dragged(whole.open(photo()), 2))
    assert apart.max() > 3


def test_a_model_without_look_says_nothing_of_its_prompt_in_colours(saved: Path, folder: Path) -> None:
    rewritten(folder, lambda header: header.pop("prompt_filter"))
    plain, whole = open_small(folder), open_small(saved)
    assert finisher_of(plain).prompt_filter is None
    assert finisher_of(whole).prompt_filter is not None
    said, unsaid = (dragged(whole.open(photo(), prompt), 2).astype(int) for prompt in (PROMPT, ""))
    without = dragged(plain.open(photo(), PROMPT), 2)
    assert np.abs(said - without).max() > 3
    assert np.array_equal(unsaid, dragged(plain.open(photo()), 2)), "no words, no look"


def test_weights_are_kept_in_bfloat16_and_nothing_is_pickled(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == sorted((bundle.HEADER, *WEIGHTS))
    for file in WEIGHTS:
        assert {tensor.dtype for tensor in load_file(saved / file).values()} == {torch.bfloat16}


def test_the_faster_form_gives_the_same_frames(saved: Path) -> None:
    plain, fast = (dragged(open_small(saved, fused).open(photo(), PROMPT), 3) for fused in (False, True))
    assert np.abs(plain.astype(int) - fast.astype(int)).max() <= 1


def test_a_model_runs_in_bfloat16(saved: Path) -> None:
    model = bundle.load_bundle(saved, CPU, torch.bfloat16)
    exact = dragged(open_small(saved).open(photo(), PROMPT), 2).astype(int)
    rounded = dragged(model.open(photo(), PROMPT), 2).astype(int)
    assert model.dtype == torch.bfloat16
    assert 0 < np.abs(rounded - exact).mean() < 2
    stream = model.open(photo(), PROMPT)
    dragged(stream, 2)
    again = model.resume(stream.snapshot())
    np.testing.assert_array_equal(dragged(again, 1), dragged(stream, 1))


def test_the_hash_names_the_weights_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    other = save_small(tmp_path / "other", seed=1)
    again = save_small(tmp_path / "again", chunk=1)
    names = [bundle.load_bundle(folder, CPU, torch.float32).hash for folder in (saved, again, other)]
    assert names[0] == names[1] != names[2]


def test_load_takes_a_folder_by_path_or_text(saved: Path) -> None:
    for form in (saved, str(saved)):
        model = motionstream.load(form, device="cpu")
        assert model.name == "small"
        assert model.device.type == "cpu"


def test_a_name_is_the_packages_model_even_beside_a_folder_of_that_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(saved, tmp_path / "package" / "tiny")
    (tmp_path / "here" / "tiny").mkdir(parents=True)
    monkeypatch.setattr(zoo, "EMBEDDED", {"tiny": tmp_path / "package" / "tiny"})
    monkeypatch.chdir(tmp_path / "here")
    assert zoo.names() == ["tiny"]
    assert zoo.load("tiny", "cpu").name == "small"
    with pytest.raises(ValueError, match="no model"):
        zoo.load(Path("tiny"), "cpu")


@pytest.mark.parametrize("wrong", ["tinny", "/no/such/folder"])
def test_an_unknown_name_is_answered_with_the_names_there_are(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "EMBEDDED", {})
    with pytest.raises(ValueError, match=r"use one of \(none\), or a folder"):
        zoo.load(wrong, "cpu")
    for name in ("tiny", "wan"):
        save_small(tmp_path / name)
    monkeypatch.setattr(zoo, "EMBEDDED", {name: tmp_path / name for name in ("tiny", "wan")})
    with pytest.raises(ValueError, match=f"no model named '{wrong}': use one of tiny, wan, or a folder of weights"):
        zoo.load(wrong, "cpu")


@pytest.mark.parametrize("wrong", ["gpu", "cpu:x", "", "meta", "mps"])
def test_an_unknown_device_is_answered_with_those_there_are(saved: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match="use auto, cpu, cuda or cuda:N"):
        zoo.load(saved, wrong)


@pytest.mark.parametrize("count", [0, 1])
def test_a_gpu_that_is_not_there_is_said(saved: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=f"{count} CUDA devices; use auto or cpu"):
        zoo.load(saved, f"cuda:{count}")


def test_auto_takes_the_cpu_where_there_is_no_gpu(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert zoo.load(saved).device == CPU


@pytest.mark.parametrize("file", WEIGHTS)
def test_one_wrong_bit_is_found(folder: Path, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[-3] ^= 4
    (folder / file).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{file} is damaged: its SHA-256 is not the one in model\.json"):
        zoo.load(folder, "cpu")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (bundle.HEADER, r"holds no model: model\.json is missing"),
        (bundle.FILES["network"], r"network\.safetensors is missing: the model is incomplete"),
        (bundle.FILES["vae"], r"vae\.safetensors is missing: the model is incomplete"),
        (bundle.FILES["detail"], r"detail\.safetensors is missing: the model is incomplete"),
        (bundle.FILES["prompt_filter"], r"prompt_filter\.safetensors is missing: the model is incomplete"),
    ],
)
def test_a_missing_file_is_named(folder: Path, file: str, says: str) -> None:
    (folder / file).unlink()
    with pytest.raises(ValueError, match=says):
        zoo.load(folder, "cpu")


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header = json.loads((folder / bundle.HEADER).read_text(encoding="utf-8"))
    change(header)
    (folder / bundle.HEADER).write_text(json.dumps(header), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda header: header.update(format=2), r"model\.json: this version reads models of format 1"),
        (lambda header: header.pop("name"), r"model\.json is incomplete"),
        (lambda header: header.pop("sha256"), r"model\.json is incomplete"),
        (lambda header: header["sha256"].pop(bundle.FILES["vae"]), r"model\.json is incomplete.*vae\.safetensors"),
        (lambda header: header.pop("live"), r"model\.json does not describe a model: 'live'"),
        (lambda header: header["live"].pop("chunk"), r"does not describe a model.*chunk"),
        (
            lambda header: header["sha256"].pop(bundle.FILES["detail"]),
            r"model\.json is incomplete.*detail\.safetensors",
        ),
        (
            lambda header: header["sha256"].pop(bundle.FILES["prompt_filter"]),
            r"model\.json is incomplete.*prompt_filter\.safetensors",
        ),
        (
            lambda header: header["prompt_filter"].update(phrases=["fog"]),
            r"prompt_filter\.safetensors does not fit model\.json",
        ),
        (lambda header: header["vae"].update(colour=1), r"does not describe a model.*colour"),
        (lambda header: header["detail"].update(width=9), r"detail\.safetensors does not fit model\.json"),
        (lambda header: header["network"].update(dit=3), r"does not describe a model"),
        (lambda header: header["network"]["dit"].update(layers=3), r"network\.safetensors does not fit model\.json"),
        (lambda header: header["live"].update(size=[47, 32]), "multiples of 16"),
    ],
)
def test_a_header_that_does_not_fit_is_named(
    folder: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    rewritten(folder, change)
    with pytest.raises(ValueError, match=says):
        zoo.load(folder, "cpu")


@pytest.mark.parametrize("text", ["{", "[]", "3", "\ufffd"])
def test_a_header_that_is_none_is_named(folder: Path, text: str) -> None:
    (folder / bundle.HEADER).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"model\.json"):
        model_folder.read_header(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("track_head.project.bias"),
        lambda weights: weights.update(surplus=torch.zeros(1)),
        lambda weights: weights.update({"track_head.project.bias": torch.zeros(3)}),
    ],
)
def test_every_weight_is_accounted_for(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / bundle.FILES["network"])
    change(weights)
    save_file(weights, folder / bundle.FILES["network"])
    rewritten(
        folder,
        lambda header: header["sha256"].update({bundle.FILES["network"]: sha256(folder / bundle.FILES["network"])}),
    )
    with pytest.raises(ValueError, match=r"network\.safetensors does not fit model\.json: .*(track_head|surplus)"):
        zoo.load(folder, "cpu")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_embedded_network_reads_no_prompt_and_cross_attends_to_a_constant() -> None:
    """What its layers add for the empty prompt is the mean of what its tokens would add: the same frames."""
    folder = zoo.embedded("tiny")
    model = bundle.load_bundle(folder, CPU, torch.float32)
    assert not model.reads_prompt
    assert isinstance(model.context(""), ConstantContext)
    heard = bundle.load_bundle(folder, CPU, torch.float32)
    heard.network.dit = fuse(cast(FusedDiT, heard.network.dit).reference)
    coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    image = coarse.repeat(16, 0).repeat(16, 1)
    xy = 100 + np.arange(9, dtype=np.float32)[:, None, None] * np.array([3, 1], np.float32)
    shown = []
    for one in (model, heard):
        stream, frames, begin = one.open(image), [], 0
        for _ in range(3):
            span = slice(begin, begin + stream.chunk_frames)
            frames.append(stream.step(Tracks(xy[span], np.ones(xy[span].shape[:2], bool))))
            begin = span.stop
        shown.append(np.concatenate(frames).astype(int))
    assert abs(shown[0] - shown[1]).max() <= 1
    assert abs(shown[0] - shown[0][:1]).max() > 50, "nothing moved: the comparison would say nothing"
