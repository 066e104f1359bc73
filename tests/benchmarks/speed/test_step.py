"""The step's parts and its arithmetic, on small models; times are never judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.stream.small_bundle import open_small, save_small

from benchmarks.speed import step
from benchmarks.speed.ceiling import ATTENTION, CONVOLUTION, MATRIX, Ceiling, Sizes
from benchmarks.speed.cli import app
from benchmarks.speed.step import bench_network, bench_step, plain
from benchmarks.speed.stopwatch import Took, figures
from benchmarks.speed.untrained import ROLLING, Untrained, randomised, shape_of
from motionstream.fast.fuse import FusedDiT
from motionstream.stream.model import StreamingModel

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StreamingModel:
    return open_small(save_small(tmp_path_factory.mktemp("model"), 1, 1, 1))


@pytest.fixture(scope="module")
def found(model: StreamingModel) -> dict[str, Any]:
    return bench_step(model)


def test_every_part_has_times_arithmetic_and_its_share(found: dict[str, Any], model: StreamingModel) -> None:
    assert found["steps"] == 30
    assert found["calls"] == len(model.rollout_config.times)
    for part in ("step", "condition", "denoise", "decode", "commit"):
        assert found[part]["ms"]["p95"] >= found[part]["ms"]["p50"] > 0
        assert found[part]["process_ms"]["p50"] > 0
        assert found[part]["gflop"] > 0
        assert found[part]["share_of_ceiling"] > 0
        assert found[part]["share_of_ceiling_process"] > 0
    parts = sum(found[part]["gflop"] for part in ("condition", "denoise", "decode", "commit"))
    assert found["step"]["gflop"] == pytest.approx(parts)
    assert {"matrix_gflop_per_s", "convolution_gflop_per_s", "attention_gflop_per_s"} <= found["ceiling"].keys()
    assert {"machine", "date", "call_ms", "chunk_frames", "fps"} <= found.keys()
    json.dumps(found, allow_nan=False)


def test_a_call_that_denoises_costs_what_a_commit_does(found: dict[str, Any]) -> None:
    """Both are passes of the plain network over one chunk: a count that missed a part would differ."""
    assert found["denoise"]["gflop"] == pytest.approx(found["calls"] * found["commit"]["gflop"], rel=1e-6)


def test_arithmetic_is_what_the_shapes_say() -> None:
    """A network without a VAE, counted by hand: products of the blocks, attention, and what stands around them."""
    shape = shape_of("tiny", 1, reduced=True, size=(64, 32))
    found = bench_network(shape, CPU)
    config, made = shape.dit, Untrained(shape, torch.float32, CPU)
    tokens = ROLLING.chunk * shape.geometry.tokens_per_latent
    seen = (ROLLING.sink + ROLLING.window + ROLLING.chunk) * shape.geometry.tokens_per_latent
    width = config.width
    block = 2 * tokens * width * (6 * width + 2 * config.ffn)  # q, k, v, o; q, o of the prompt; feed-forward
    attention = 4 * tokens * width * (seen + config.text_tokens)
    around = 2 * tokens * width * 4 * (made.network.dit.config.in_channels + config.out_channels)
    time = 2 * ROLLING.chunk * width * (config.freq_dim + width + 6 * width)
    head = 2 * tokens * 4 * made.network.track_head.project.weight.numel()
    assert found["commit"]["gflop"] * 1e9 == pytest.approx(block + attention + around + time + head)
    assert found["denoise"]["gflop"] == pytest.approx(3 * found["commit"]["gflop"])
    assert "decode" not in found


def test_the_network_is_fused_again_after_it_was_counted(model: StreamingModel, found: dict[str, Any]) -> None:
    fused = model.network.dit
    assert isinstance(fused, FusedDiT)
    kernel = fused.reference.kernel
    with plain(model.network):
        assert model.network.dit is fused.reference
    assert model.network.dit is fused
    assert fused.reference.kernel == kernel


def test_a_ceiling_is_a_ceiling_of_its_kinds() -> None:
    ceiling = Ceiling(Sizes(32, 16, 64, 2, 64, ((1, 8, 6, 6),)), torch.float32, CPU)
    for _ in range(2):
        ceiling.round()
    assert ceiling.rates().keys() == ceiling.rates("process").keys() == {MATRIX, CONVOLUTION, ATTENTION}
    assert all(len(rounds) == 2 for rounds in ceiling.wall.values())
    rate = ceiling.rates()[MATRIX]
    assert ceiling.share({MATRIX: rate}, 2.0) == pytest.approx(0.5)
    assert ceiling.share({MATRIX: rate, ATTENTION: ceiling.rates()[ATTENTION]}, 2.0) == pytest.approx(1.0)
    assert ceiling.share({}, 1.0) is None


def test_times_add_up_and_an_accelerators_own_are_shown() -> None:
    one, two = Took(1.0, 2.0), Took(0.25, 0.5)
    assert (one + two, one - two) == (Took(1.25, 2.5), Took(0.75, 1.5))
    assert (Took(1, 1, 0.5) - Took(1, 1, 0.25)).device == 0.25
    assert figures([one, two]).keys() == {"ms", "process_ms"}
    assert figures([Took(1, 1, 0.5)])["device_ms"]["p50"] == 500


def test_shapes_are_the_published_or_smaller() -> None:
    full, small = shape_of("wan2.2-5b"), shape_of("wan2.2-5b", 2, reduced=True)
    assert (full.geometry.latent_height, full.geometry.latent_width) == (44, 80)
    assert shape_of("wan2.1-1.3b").geometry.tokens_per_latent == 1560
    assert (small.dit.layers, small.dit.heads, small.dit.head_dim) == (2, 2, 128)
    assert small.dit.ffn / small.dit.width == pytest.approx(full.dit.ffn / full.dit.width, rel=0.05)
    assert "reduced" in small.label
    assert "reduced" not in full.label
    with pytest.raises(ValueError, match=r"use one of tiny, wan2\.1"):
        shape_of("wan9")
    with pytest.raises(ValueError, match="has 1 to 30"):
        shape_of("wan2.1-1.3b", 31)
    with pytest.raises(ValueError, match="multiples of 16"):
        shape_of("wan2.1-1.3b", size=(100, 100))


def test_no_random_weight_is_zero() -> None:
    made = Untrained(shape_of("tiny", 1, reduced=True, size=(64, 32)), torch.float32, CPU)
    assert all((weight != 0).any() for weight in made.network.parameters())
    other = randomised(torch.nn.Linear(400, 3), seed=1).weight
    assert float(other.std()) == pytest.approx(1 / 20, rel=0.1)


def test_the_program_measures_a_model_or_a_size(
    found: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "step.json"
    config = ["--config", "wan2.1-1.3b", "--layers", "1", "--width", "reduced", "--size", "64x32"]
    app(["step", *config, "--device", "cpu", "--json", str(out)], standalone_mode=False)
    figures = json.loads(out.read_text())
    assert "wan2.1-1.3b, 1 layers" in figures["model"]
    assert figures["model_hash"] is None
    assert {"machine", "date", "denoise", "commit"} <= figures.keys()
    monkeypatch.setattr(step, "bench_step", lambda model, steps, over: {**found, "steps": steps})
    folder = save_small(tmp_path / "model", 1, 1, 1)
    app(["step", "-m", str(folder), "--device", "cpu", "--json", str(out)], standalone_mode=False)
    assert len(json.loads(out.read_text())["model_hash"]) == 12
    assert "share_of_ceiling" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["step", "--layers", "1"], "only with --config"),
        (["step", "--config", "tiny", "--width", "broad"], "use full or reduced"),
        (["step", "--config", "tiny", "--device", "abacus"], "not to be had here"),
        (["step", "--config", "tiny", "--size", "wide"], "such as 256x144"),
        (["compare", "--config", "wan9"], "use one of"),
    ],
)
def test_wrong_requests_say_what_is_right(arguments: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        app(arguments, standalone_mode=False)


def test_too_few_steps_are_refused(model: StreamingModel) -> None:
    def none(_: object) -> Iterator[int]:
        raise AssertionError("nothing must be measured")

    with pytest.raises(ValueError, match="at least 30"):
        bench_step(model, 5, over=none)
    with pytest.raises(ValueError, match="at least 30"):
        bench_network(shape_of("tiny", 1, reduced=True), CPU, 5, over=none)
