"""Predictions beside measured figures, against the table that they were first written in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from benchmarks.speed.predict import (
    CONFIGS,
    MACHINES,
    MEASURED_RATES,
    add_measured_rates,
    chunk_cost,
    chunk_speed,
    markdown,
    measured,
    peak,
    predict,
    predict_command,
    rows,
)
from motionstream import cli, errors
from motionstream.plan.models import model_sizes

EXPECTED = {"wan2.1-1.3b": (24.26, 97.0, 1.63, 0.15), "wan2.2-5b": (31.13, 124.5, 0.95, 0.60)}
"""TFLOP of a forward pass, of a chunk's passes, of its decoding and once a prompt: written before the code was."""


@pytest.mark.parametrize("name", EXPECTED)
def test_costs_are_those_that_were_expected(name: str) -> None:
    forward, chunk, decode, prompt = EXPECTED[name]
    tflop = predict([name], [])["predictions"][name]["tflop"]
    assert tflop["forward"] == pytest.approx(forward, rel=0.01)
    assert tflop["passes_of_a_chunk"] == pytest.approx(chunk, rel=0.01)
    assert tflop["decode"] == pytest.approx(decode, rel=0.05)
    assert tflop["prompt"] == pytest.approx(prompt, rel=0.05)


def test_speeds_follow_from_rates() -> None:
    cost = chunk_cost(model_sizes("wan2.1-1.3b"))
    full, half = chunk_speed(cost, peak(989, "")), chunk_speed(cost, peak(989 / 2, ""))
    assert full["fps"] == pytest.approx(120, rel=0.01)
    assert full["fps"] == pytest.approx(2 * half["fps"])
    assert chunk_speed(cost, peak(790, ""))["fps"] == pytest.approx(96, rel=0.01)
    assert full["latency_s"] * 1e3 == pytest.approx(full["chunk_ms"] - full["call_ms"])
    slower = chunk_speed(cost, replace(peak(989, ""), bandwidth=1.0))
    assert slower["call_ms"] - full["call_ms"] == pytest.approx(cost.elementwise_bytes / 1e9)
    kernels = chunk_speed(cost, MACHINES["h200-kernels"])
    assert 66 <= kernels["fps"] <= 73
    assert 40 <= kernels["call_ms"] <= 44


def test_a_stream_without_a_clean_pass_makes_one_pass_less() -> None:
    sizes = model_sizes(CONFIGS[0])
    unclean = replace(sizes, live=replace(sizes.live, clean_pass=False))
    with_it, without = chunk_cost(sizes), chunk_cost(unclean)
    assert (with_it.passes, with_it.calls) == (4, 3)
    assert (without.passes, without.calls) == (3, 3)
    assert without.call == with_it.call


def test_the_embedded_models_own_decoder_is_counted() -> None:
    sizes = model_sizes("tiny")
    assert chunk_cost(sizes).decode > 0
    assert chunk_cost(sizes).frames == sizes.live.chunk * 4


def test_measured_figures_stand_beside_predicted_ones(tmp_path: Path) -> None:
    found = predict(["wan2.1-1.3b"], ["h100"], tflops=500)
    assert list(found["predictions"]["wan2.1-1.3b"]["machines"]) == ["h100", "500 TFLOP/s"]
    head, first, _ = rows(found, measured(tmp_path))
    assert "FPS, measured" in head
    assert first[2] == "–"
    figures = {"config": "wan2.1-1.3b", "fps": 51.5, "call_ms": 55.0, "machine": {"gpu": "A GPU"}, "rehearsal": False}
    (tmp_path / "gpu_step_a.json").write_text(json.dumps(figures))
    (tmp_path / "gpu_step_b.json").write_text(json.dumps({**figures, "fps": 1.0, "rehearsal": True}))
    table = rows(found, measured(tmp_path))
    assert table[1][1:3] == ("120.3", "51.5")
    assert "A GPU" in table[1][-1]
    assert "| 51.5 |" in markdown(table)


def test_medians_of_a_measured_run_are_read(tmp_path: Path) -> None:
    figures = {"config": "a", "decode": {"ms": {"p50": 5.0}}, "step": {"ms": {"p50": 200.0}}, "machine": {}}
    (tmp_path / "gpu_step_a.json").write_text(json.dumps(figures))
    found = measured(tmp_path)["a"]
    assert (found["decode_ms"], found["chunk_ms"], found["machine"]) == (5.0, 200.0, None)


def test_rates_measured_in_a_run_give_a_prediction_too(tmp_path: Path) -> None:
    rates = {f"{kind}_gflop_per_s": 500e3 for kind in ("matrix", "attention", "convolution")}
    figures = {"config": "wan2.1-1.3b", "fps": 50.0, "ceiling": rates, "machine": {}, "rehearsal": False}
    (tmp_path / "gpu_step_a.json").write_text(json.dumps(figures))
    found = predict(["wan2.1-1.3b", "wan2.2-5b"], ["h100"], tflops=500)
    add_measured_rates(found, measured(tmp_path))
    machines = found["predictions"]["wan2.1-1.3b"]["machines"]
    assert machines[MEASURED_RATES] == pytest.approx(machines["500 TFLOP/s"])
    assert MEASURED_RATES not in found["predictions"]["wan2.2-5b"]["machines"]


def test_unknown_machines_and_models_are_named() -> None:
    with pytest.raises(ValueError, match="'h9': use a100"):
        predict(["wan2.1-1.3b"], ["h9"])
    with pytest.raises(ValueError, match="use one of"):
        predict(["wan9"], ["h100"])
    assert set(CONFIGS) == EXPECTED.keys()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()
    app.command()(predict_command)
    out, page = tmp_path / "predicted.json", tmp_path / "page.md"
    arguments = ["--config", "wan2.1-1.3b", "--results", str(tmp_path), "--json", str(out), "--markdown", str(page)]
    assert cli.run(arguments, app) == errors.DONE
    assert json.loads(out.read_text())["measured"] == {}
    assert "FPS, measured" in page.read_text()
    assert "h200-kernels" in capsys.readouterr().out
    assert cli.run(["--machine", "abacus"], app) == errors.WRONG_INPUT
    assert "'abacus': use a100" in capsys.readouterr().err
