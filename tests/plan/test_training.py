"""What a dry run estimates, against what the reduced stages really do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.train.wan import make, recipe, run_chain, write_clips
from torch.utils.flop_counter import FlopCounterMode

from motionstream.cli import run
from motionstream.dit import CONFIGS, VideoDiT
from motionstream.plan.operations import dit_operations
from motionstream.plan.training import (
    activation_bytes,
    block_bytes_a_token,
    dry_run,
    operations_of,
    passes_of,
    past_latents,
    saved_bytes,
)
from motionstream.train import named, self_forcing
from motionstream.train.causal_init import CausalInitStage
from motionstream.train.network import model_config
from motionstream.train.recipe import MotionRecipe, SelfForcingRecipe
from motionstream.train.self_forcing import SelfForcingStage
from motionstream.train.stage import Stage
from motionstream.train.teacher import TeacherStage
from motionstream.train.wan_data import CHANNELS, geometry_of

KINDS = {"teacher": TeacherStage, "causal": CausalInitStage, "self-forcing": SelfForcingStage}


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wan")
    write_clips(out / "clips")
    run_chain(out, out / "clips")
    return out


def of(stage: str, name: str = "wan_1_3b", **changes: object) -> MotionRecipe:
    made = replace(named(stage, name), **changes)  # type: ignore[arg-type]
    assert isinstance(made, MotionRecipe)
    return made


def counted(stage: Stage, step: int) -> float:
    counter = FlopCounterMode(display=False)
    with counter:
        stage.step(step, 0.0)
    return float(counter.get_total_flops())


@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize(("name", "steps"), [("teacher", (0,)), ("causal", (1, 2)), ("self-forcing", (0, 1))])
def test_operations_are_those_that_a_step_makes(
    wan: Path, name: str, steps: tuple[int, ...], recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward, backward and recompute of real steps under the same counter. What differs: prompts weigh more here, and
    are read once for all chunks of a rollout. Causal: one step of each phase; self-forcing: one of its generator and
    one without."""
    changes = {"sinks": (1,), "windows": (2,), "chunks": (2,)} if name == "causal" else {}
    asked = recipe(name, activation_checkpointing=recompute, accumulate=1, **changes)
    assert isinstance(asked, MotionRecipe)
    stage = make(KINDS[name], name, wan / "clips", wan, activation_checkpointing=recompute, accumulate=1, **changes)  # type: ignore[type-var]
    monkeypatch.setattr(self_forcing, "exit_step", lambda *_: 1)  # of 0, 1, 2: the mean number of calls
    real = sum(counted(stage, step) for step in steps) / len(steps)
    config = model_config(asked.network, CHANNELS[asked.vae])
    reduced = passes_of(asked, config.dit, clip_tokens=4)
    assert operations_of(asked, reduced) == pytest.approx(real, rel=0.12)


def test_what_a_block_keeps_grows_with_tokens_as_measured() -> None:
    """A clip of 36 tokens through three layers, against a prediction from 4 and 16 tokens of one layer."""
    config = replace(CONFIGS["tiny"], width=64, layers=3, heads=2, ffn=128, text_dim=16)
    model = VideoDiT(config, kernel="sdpa").to(torch.bfloat16)
    clip, text = torch.zeros(1, 1, config.in_channels, 12, 12), torch.zeros(1, 4, 16, dtype=torch.bfloat16)
    context = model.text_context(text)
    three, one = (
        saved_bytes(part, lambda part=part: part(clip, torch.zeros(1, 1), context))
        for part in (model, _with_layers(model, 1))
    )
    assert (three - one) / 2 == pytest.approx(36 * block_bytes_a_token(config), rel=0.03)


def _with_layers(model: VideoDiT, layers: int) -> VideoDiT:
    shorter = VideoDiT(replace(model.config, layers=layers), kernel="sdpa").to(torch.bfloat16)
    shorter.load_state_dict(model.state_dict(), strict=False)
    return shorter


def test_a_recomputed_rollout_keeps_the_pasts_that_its_chunks_saw() -> None:
    made = of("self-forcing", "wan_reduced")
    assert isinstance(made, SelfForcingRecipe)
    dit = model_config(made.network, 16).dit
    # five chunks of one latent see 0, 1, 2, 2, 2 latents of 12 tokens: keys and values of 32 channels in two layers
    assert past_latents(made) == [(1, 0), (1, 1), (1, 2), (1, 2), (1, 2)]
    past = 7 * 12 * 2 * 32 * 2 * 4
    block, block_input = 5 * 12 * block_bytes_a_token(dit, torch.float32), 5 * 12 * 32 * 4
    recomputed, whole = (activation_bytes(replace(made, activation_checkpointing=one), dit) for one in (True, False))
    assert recomputed == 2 * block_input + block + past
    assert whole == 2 * block + past


def test_a_rollout_is_its_chunks_each_with_its_past() -> None:
    made = of("self-forcing", "wan_reduced", chunk=2, sink=1, window=2)
    assert isinstance(made, SelfForcingRecipe)
    chunks = [(2, 0), (2, 2), (1, 3)]
    assert past_latents(made) == chunks
    dit, geometry = model_config(made.network, 16).dit, geometry_of(made)
    each = (dit_operations(dit, geometry, size, past=past) for size, past in chunks)
    assert passes_of(made, dit)["rolled"] == sum(sum(one.values()) for one in each)


def estimate(made: MotionRecipe, gpus: int = 32, **given: float) -> dict[str, object]:
    """Without counting operations, which have their own tests."""
    with patch("motionstream.plan.training.passes_of", return_value={"whole": 1e15, "forced": 2e15, "rolled": 1e15}):
        return dry_run(made, gpus, **given)


def test_figures_follow_from_gpus_passes_and_rate() -> None:
    alone, many = estimate(of("teacher"), 1), estimate(of("teacher"), 32, tflops=200.0)
    assert (alone["clips_a_step"], many["clips_a_step"]) == (4, 128)
    assert estimate(of("teacher", accumulate=16), 8)["clips_a_step"] == 128
    assert many["step_pflop"] == 32 * alone["step_pflop"] == 128 * 4  # type: ignore[operator]
    assert many["seconds_a_step"] == pytest.approx(128 * 4e15 / 32 / 200e12)
    assert many["hours"] == pytest.approx(4800 * many["seconds_a_step"] / 3600)  # type: ignore[operator]


def test_memory_is_split_over_the_gpus_and_says_what_fits() -> None:
    few, many = (estimate(of("self-forcing", "wan_5b"), gpus) for gpus in (4, 32))
    weights = many["parameters"]
    assert isinstance(weights, int)
    for figures, gpus in ((few, 4), (many, 32)):
        parts = figures["memory_gb"]
        assert isinstance(parts, dict)
        assert parts["trained weights"] == pytest.approx(2 * 4 * weights / gpus / 1e9)
        assert parts["moments"] == pytest.approx(2 * parts["trained weights"])
        assert parts["averages"] == parts["frozen weights"] == pytest.approx(parts["trained weights"] / 2)
        assert sum(size for name, size in parts.items() if name != "total") == pytest.approx(parts["total"])
    total = many["memory_gb"]["total"]  # type: ignore[index]
    assert many["fits"]
    assert many["total_gb_without_recompute"] > 80 > total
    assert estimate(of("self-forcing", "wan_5b"), 32, memory=total - 1)["fits"] is False
    whole = estimate(of("teacher", "wan_5b", sharded=False), 32)
    assert whole["memory_gb"]["moments"] == pytest.approx(8 * weights / 1e9)  # type: ignore[index]


def test_other_stages_and_impossible_machines_are_refused() -> None:
    with pytest.raises(ValueError, match="clips of `data encode`"):
        dry_run(named("vae", "smoke"), 1)
    with pytest.raises(ValueError, match="clips of `data encode`"):
        dry_run(named("teacher", "smoke"), 1)
    with pytest.raises(ValueError, match="must be positive"):
        dry_run(of("teacher"), 0)


def test_the_command_estimates_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    command = ["train", "causal", "-r", "wan_reduced", "--dry-run", "--gpus", "2", "--accumulate", "3"]
    assert run([*command, "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    assert (figures["gpus"], figures["clips_a_step"], figures["fits"]) == (2, 6, True)
    assert "seconds_a_step" in capsys.readouterr().out
    assert run(["train", "causal", "-r", "wan_reduced"]) == 2
    assert "--out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]
