"""The end of the chain as a model folder: the averaged student, run as it was trained, and where it comes from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from motionstream import cli, errors
from motionstream.model_folder import read_header
from motionstream.stream.model import StreamingModel
from motionstream.tiny.bundle import load_bundle
from motionstream.tiny.finisher import PhotoFinisher
from motionstream.train.checkpoint import newest_weights
from motionstream.train.pack import CHAIN, PROMPT_FILTER, export_wan, lineage, pack
from motionstream.train.run import BUILDERS


def opened(folder: Path) -> StreamingModel:
    return load_bundle(folder, torch.device("cpu"), torch.float32, fused=False)


def finisher(model: StreamingModel) -> PhotoFinisher:
    assert isinstance(model.finisher, PhotoFinisher)
    return model.finisher


def test_the_chain_is_that_of_the_stages() -> None:
    assert tuple(BUILDERS) == (*CHAIN, PROMPT_FILTER, "decoder"), (
        "the decoder is of another VAE's latents, not of the chain"
    )


@pytest.mark.parametrize("stage", ["causal", "self-forcing"])
def test_the_students_average_and_the_vae_are_in_it(chain: Path, tmp_path: Path, stage: str) -> None:
    pack(chain, stage, tmp_path, "try")
    model = opened(tmp_path)
    for module, run in ((model.network, stage), (model.vae, "vae")):
        average = newest_weights(chain / run, "ema", under="average")
        packed = module.state_dict()
        assert set(packed) == set(average)
        assert all(torch.equal(packed[name], average[name].bfloat16().float()) for name in average)
    raw = newest_weights(chain / "vae", "vae")
    assert any(not torch.equal(model.vae.state_dict()[name], raw[name].bfloat16().float()) for name in raw)


@pytest.mark.parametrize(
    ("stage", "sizes"),
    [("causal", {"chunk": 2, "sink": 1, "window": 2}), ("self-forcing", {"chunk": 1, "sink": 1, "window": 1})],
)
def test_it_runs_as_it_was_trained(chain: Path, tmp_path: Path, stage: str, sizes: dict[str, int]) -> None:
    pack(chain, stage, tmp_path, "try")
    live = read_header(tmp_path)["live"]
    assert {key: live[key] for key in sizes} == sizes
    assert (live["size"], live["fps"], live["steps"]) == ([64, 48], 24, 3)


def test_a_finished_prompt_filter_is_taken_in(chain: Path, tmp_path: Path) -> None:
    origin = pack(chain, "self-forcing", tmp_path / "with", "try")
    assert "prompt-filter" in origin
    packed = finisher(opened(tmp_path / "with")).prompt_filter
    assert packed is not None
    average = newest_weights(chain / "prompt-filter", "ema", under="average")
    assert all(torch.equal(packed.state_dict()[name], average[name].bfloat16().float()) for name in average)
    without = tmp_path / "chain"
    shutil.copytree(chain, without, ignore=shutil.ignore_patterns("prompt-filter"))
    pack(without, "self-forcing", tmp_path / "without", "try")
    assert finisher(opened(tmp_path / "without")).prompt_filter is None


def test_runs_that_a_prompt_filter_or_a_student_went_on_from_are_named_before_it(chain: Path, tmp_path: Path) -> None:
    out = tmp_path / "chain"
    shutil.copytree(chain, out)
    for run, earlier, setting in (
        ("prompt-filter", "prompt-filter-first", "init_from"),
        ("self-forcing", "first", "causal"),
    ):
        shutil.copytree(out / run, out / earlier)
        recipe = json.loads((out / run / "recipe.json").read_text())
        (out / run / "recipe.json").write_text(json.dumps({**recipe, setting: earlier}))
    origin = pack(out, "self-forcing", tmp_path / "model", "try")
    assert tuple(origin) == (*CHAIN[:4], "first", "self-forcing", "prompt-filter-first", "prompt-filter")


def test_a_run_that_names_itself_comes_from_nowhere_else(chain: Path, tmp_path: Path) -> None:
    out = tmp_path / "chain"
    shutil.copytree(chain, out)
    recipe = json.loads((out / "prompt-filter" / "recipe.json").read_text())
    (out / "prompt-filter" / "recipe.json").write_text(json.dumps({**recipe, "init_from": "prompt-filter"}))
    assert lineage(out, "prompt-filter") == ["prompt-filter"]


def test_of_a_file_only_its_name_is_told(chain: Path, tmp_path: Path) -> None:
    out = tmp_path / "chain"
    shutil.copytree(chain, out)
    recipe = json.loads((out / "vae-decoder" / "recipe.json").read_text())
    (out / "vae-decoder" / "recipe.json").write_text(
        json.dumps({**recipe, "lpips": str(tmp_path / "alex.safetensors")})
    )
    pack(out, "detail", tmp_path / "model", "try")
    assert read_header(tmp_path / "model")["origin"]["vae-decoder"]["recipe"]["lpips"] == "alex.safetensors"
    assert str(tmp_path) not in (tmp_path / "model" / "model.json").read_text()


def test_a_packed_model_streams(chain: Path, tmp_path: Path) -> None:
    pack(chain, "self-forcing", tmp_path, "try", chunk=2, sink=0, window=3, clean_pass=False)
    live = read_header(tmp_path)["live"]
    assert (live["sink"], live["window"], live["clean_pass"]) == (0, 3, False)
    stream = opened(tmp_path).open(np.full((48, 64, 3), 90, np.uint8))
    counts = [len(stream.step(None)) for _ in range(3)]
    assert counts == [5, 8, 8], "two latents a chunk, as asked for, not the recipe's one"


def test_the_last_stage_packs_its_student_with_the_detail(chain: Path, tmp_path: Path) -> None:
    origin = pack(chain, "detail", tmp_path / "whole", "try")
    pack(chain, "rollout", tmp_path / "student", "try")
    whole, student = opened(tmp_path / "whole"), opened(tmp_path / "student")
    assert tuple(origin) == (*CHAIN, PROMPT_FILTER)
    detail = finisher(whole).detail
    assert finisher(student).detail is None
    assert detail is not None
    average = newest_weights(chain / "detail", "ema", under="average")
    assert all(torch.equal(detail.state_dict()[name], average[name].bfloat16().float()) for name in average)
    assert all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(whole.network.state_dict().values(), student.network.state_dict().values(), strict=True)
    )
    assert len(whole.open(np.full((48, 64, 3), 90, np.uint8)).step(None)) == 1


def test_it_says_where_it_comes_from(chain: Path, tmp_path: Path) -> None:
    origin = pack(chain, "self-forcing", tmp_path, "try")
    assert origin == json.loads(json.dumps(read_header(tmp_path)["origin"]))
    assert tuple(origin) == (*CHAIN[:5], PROMPT_FILTER)
    assert {part["steps"] for part in origin.values()} == {4}
    assert origin["causal"]["recipe"]["name"] == "smoke"
    assert tuple(pack(chain, "causal", tmp_path / "causal", "try")) == (*CHAIN[:4], PROMPT_FILTER)


def test_stages_that_train_no_student_or_did_not_finish_are_refused(chain: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="'teacher' does not train a student: use 'causal', 'self-forcing', 'rollout' or 'detail'"
    ):
        pack(chain, "teacher", tmp_path / "model", "try")
    for done in ("vae", "causal"):
        (tmp_path / done).mkdir()
        shutil.copy(chain / done / "recipe.json", tmp_path / done)
    with pytest.raises(ValueError, match="vae holds no finished checkpoint"):
        pack(tmp_path, "causal", tmp_path / "model", "try")
    assert not (tmp_path / "model").exists()


# --- the command --------------------------------------------------------------------------------------------------


def test_a_run_of_our_own_is_no_wan_network(chain: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not on a Wan backbone"):
        export_wan(chain, "self-forcing", tmp_path / "wan")
    assert not (tmp_path / "wan").exists()


def test_the_command_packs(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    assert cli.run(["zoo", "pack", "--runs", str(chain), "-o", str(out), "--name", "mine"]) == errors.DONE
    assert opened(out).name == "mine"
    assert "self-forcing, steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--runs", "nowhere"], "nowhere/detail/recipe.json: No such file"),
        (["--stage", "teacher"], "does not train a student"),
        (["--stage", "painting"], "painting/recipe.json: No such file"),
        (["--chunk", "0"], "'--chunk'"),
    ],
)
def test_the_command_refuses_in_one_line(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], says: str
) -> None:
    out = tmp_path / "model"
    assert cli.run(["zoo", "pack", "--runs", str(chain), "-o", str(out), *change]) == errors.WRONG_INPUT
    said = capsys.readouterr().err
    assert said.startswith("motionstream: ")
    assert said.count("\n") == 1
    assert says in said
    assert not out.exists()
