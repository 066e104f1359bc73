"""Plans of memory: every count against who owns it, and the choice against all others."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.stream.small_bundle import save_small

from motionstream import cli, errors, zoo
from motionstream.plan.choice import Plan, choose, setups
from motionstream.plan.external import UMT5_XXL_PARAMETERS
from motionstream.plan.memory import GIB, MIB, LiveBytes, Setup, _dit_work, parts
from motionstream.plan.models import ModelSizes, model_sizes, names
from motionstream.plan.show import as_dict, rows, summary
from motionstream.sampling import MotionModel

SMALL, LARGE = "wan2.1-1.3b", "wan2.2-5b"
H200_GIB = 139.0


def best(model: str, **changes: Any) -> Setup:
    return replace(Setup("full", "gpu", False, model_sizes(model).frame_sizes[0]), **changes)


def sizes(model: str, **changes: Any) -> dict[str, float]:
    """MiB by part."""
    return {part.name: part.bytes / MIB for part in parts(model_sizes(model), best(model, **changes))}


# The figures of a calculation made apart from this code, for the paper's frames and rollout (c3s1w1), in MiB.
APART = {
    SMALL: {"past": 1645, "past and chunk": 2468, "prompt": 90, "tiny": 64, "full": 1801, "sessions": (68, 34)},
    LARGE: {"past": 1856, "past and chunk": 2784, "prompt": 180, "tiny": 36, "full": 3067, "sessions": (56, 22)},
}


@pytest.mark.parametrize("model", [SMALL, LARGE])
def test_a_session_takes_what_was_calculated_apart(model: str) -> None:
    full, tiny, apart = sizes(model), sizes(model, decoder="tiny"), APART[model]
    past = full["keys and values of the past"]
    assert past == pytest.approx(apart["past"], rel=0.02)
    chunk = full["keys and values of the chunk at hand"]
    assert past + chunk == pytest.approx(apart["past and chunk"], rel=0.02)
    assert full["keys and values of the prompt"] == pytest.approx(apart["prompt"], rel=0.02)
    assert tiny["decoder's memory"] == pytest.approx(apart["tiny"], rel=0.02)
    assert full["decoder's memory"] == pytest.approx(apart["full"], rel=0.02)


@pytest.mark.parametrize("name", [SMALL, LARGE])
def test_sessions_in_a_large_gpu_are_about_as_calculated_apart(name: str) -> None:
    """Apart, 5 GiB were taken for all working memory, and nothing kept free."""
    model = model_sizes(name)
    for decoder, expected in zip(("tiny", "full"), APART[name]["sessions"], strict=True):
        made = Plan(model, H200_GIB, best(name, decoder=decoder))
        assert made.sessions == pytest.approx(expected, rel=0.12)


def test_weights_are_those_of_the_networks() -> None:
    assert sizes(SMALL)["text encoder"] * MIB / GIB == pytest.approx(10.6, rel=0.01)
    assert sizes(SMALL, decoder="tiny")["decoder"] * MIB == 2 * 9_844_611
    for model, millions in ((SMALL, 1419), (LARGE, 5000)):
        assert sizes(model)["DiT weights"] * MIB / 2e6 == pytest.approx(millions, rel=0.01)


def test_fp8_halves_the_matrices_of_the_blocks_and_adds_their_scales() -> None:
    model = model_sizes("tiny")
    whole, small = (
        next(part.bytes for part in parts(model, best("tiny", fp8=fp8)) if part.name == "DiT weights")
        for fp8 in (False, True)
    )
    with torch.device("meta"):
        state = MotionModel(model.network).dit.state_dict()
    matrices = [value for name, value in state.items() if name.startswith("blocks.") and value.ndim == 2]
    assert len(matrices) == 10 * model.network.dit.layers
    assert whole - small == sum(matrix.numel() - 4 * len(matrix) for matrix in matrices)


def test_a_model_that_sees_the_picture_needs_its_encoder_and_tokens() -> None:
    without, with_picture = sizes(SMALL), sizes(f"{SMALL}-i2v")
    assert "picture encoder" not in without
    assert with_picture["picture encoder"] == pytest.approx(1203, rel=0.02)
    more = with_picture["keys and values of the prompt"] - without["keys and values of the prompt"]
    assert more == pytest.approx(90 * 257 / 512, rel=0.001)


def test_an_anchored_model_carries_its_encoders_memory() -> None:
    paper = model_sizes(SMALL)
    conditioning = replace(paper.network.conditioning, anchored=True)
    channels = conditioning.latent_channels + conditioning.channels
    network = replace(paper.network, dit=replace(paper.network.dit, in_channels=channels), conditioning=conditioning)
    anchored = replace(paper, network=network)
    names = [{part.name for part in parts(model, best(SMALL))} for model in (paper, anchored)]
    assert names[1] - names[0] == {"encoder's memory"}
    kept = [
        next(part.bytes for part in parts(model, best(SMALL)) if part.name == "picture and conditioning")
        for model in (paper, anchored)
    ]
    latents, cells = paper.live.window + paper.live.chunk, 104 * 60
    assert kept[1] - kept[0] == 2 * latents * cells * (16 + 4 + 1), "the anchor's latents and its support"


def test_the_embedded_model_has_all_of_its_own() -> None:
    found = sizes("tiny", decoder="tiny")
    assert not {"text encoder", "picture encoder"} & found.keys()
    files = zoo.embedded("tiny")
    assert found["DiT weights"] * MIB == pytest.approx((files / "network.safetensors").stat().st_size, rel=0.01)
    weights = found["VAE encoder"] + found["decoder"]
    assert weights * MIB == pytest.approx((files / "vae.safetensors").stat().st_size, rel=0.01)


def test_working_memory_grows_with_the_frame_and_not_with_depth() -> None:
    model = model_sizes(SMALL)
    small, large = (_dit_work(model, model.geometry(size)) for size in ((416, 240), (832, 480)))
    assert large == pytest.approx(4 * small, rel=0.01)
    deep = replace(model, network=replace(model.network, dit=replace(model.network.dit, layers=60)))
    assert _dit_work(deep, deep.geometry((832, 480))) == large


def test_tensors_alive_at_once_are_counted() -> None:
    given = torch.empty(10, device="meta")  # 40 bytes, not made within
    with LiveBytes() as alive:
        a = given + 1
        b = a * 2
        b.add_(1)
        view = b[:5].view(5, 1)
        assert alive.now == 80
        del a
        assert alive.now == 40
        c = torch.cat([b, b])
        assert alive.now == 120
        del b
        assert alive.now == 120  # the view holds it
        del view, c
    assert (alive.now, alive.peak) == (0, 120)


@pytest.mark.parametrize(
    ("model", "memory", "choice"),
    [
        (SMALL, 80, Setup("full", "gpu", False, (832, 480))),
        (SMALL, 16, Setup("tiny", "cpu", False, (832, 480))),
        (SMALL, 8, Setup("tiny", "cpu", True, (832, 480))),
        (LARGE, 80, Setup("full", "gpu", False, (1280, 704))),
        (LARGE, 24, Setup("tiny", "cpu", False, (1280, 704))),
        (LARGE, 12, Setup("tiny", "cpu", True, (1280, 704))),
        (LARGE, 8, Setup("tiny", "cpu", True, (640, 352))),
        ("tiny", 2, Setup("tiny", "gpu", False, (256, 144))),
    ],
)
def test_usual_memories(model: str, memory: float, choice: Setup) -> None:
    made = choose(model_sizes(model), memory)
    assert made.fits
    assert made.setup == choice


@pytest.mark.parametrize("name", [SMALL, LARGE])
@pytest.mark.parametrize("memory", [6.0, 10.0, 14.0, 20.0, 28.0, 40.0])
def test_the_first_way_that_fits_is_chosen(name: str, memory: float) -> None:
    model = model_sizes(name)
    ways = list(setups(model))
    fitting = [way for way in ways if Plan(model, memory, way).fits]
    made = choose(model, memory)
    assert made.setup == (fitting[0] if fitting else ways[-1])
    assert made.fits is bool(fitting)


def test_things_are_given_up_one_at_a_time_in_the_order_that_is_said() -> None:
    model = model_sizes(SMALL)
    ways = list(setups(model))
    assert ways[0] == best(SMALL)
    changed = [
        [name for name in ("decoder", "encoders", "fp8", "size") if getattr(a, name) != getattr(b, name)]
        for a, b in pairwise(ways)
    ]
    assert changed == [["decoder"], ["encoders"], ["fp8"], ["size"], ["size"], ["size"]]
    totals = [Plan(model, 24, way).total for way in ways]
    assert totals == sorted(totals, reverse=True)


def test_what_is_asked_for_is_held_to() -> None:
    model = model_sizes(SMALL)
    held = choose(model, 4, decoder="full", fp8=False, size=(832, 480))
    assert held.setup == best(SMALL, encoders="cpu")
    assert not held.fits
    assert choose(model, 80, fp8=True).setup == best(SMALL, fp8=True)
    assert choose(model, 80, decoder="tiny").setup == best(SMALL, decoder="tiny")
    assert choose(model, 80, size=(640, 480)).setup.size == (640, 480)


def test_more_sessions_want_more_memory() -> None:
    model = model_sizes(SMALL)
    one = choose(model, 24)
    assert one.setup.decoder == "full"
    four = choose(model, 24, sessions=4)
    assert four.setup == best(SMALL, decoder="tiny", encoders="cpu")
    assert four.total == four.fixed + 4 * four.session <= four.usable
    assert four.sessions >= 4


def test_as_many_sessions_fit_as_are_said() -> None:
    made = choose(model_sizes(LARGE), 80)
    assert made.fixed + made.sessions * made.session <= made.usable
    assert made.fixed + (made.sessions + 1) * made.session > made.usable
    assert Plan(model_sizes(LARGE), 4, best(LARGE)).sessions == 0


def test_what_is_on_the_cpu_takes_none_of_the_gpu() -> None:
    model = model_sizes(SMALL)
    gpu, cpu = (Plan(model, 24, best(SMALL, encoders=place)) for place in ("gpu", "cpu"))
    assert (gpu.host, gpu.fixed - cpu.fixed) == (0, cpu.host)
    assert cpu.host == 2 * UMT5_XXL_PARAMETERS


def test_a_model_in_a_folder(tmp_path: Path) -> None:
    folder = save_small(tmp_path)
    found = model_sizes(str(folder))
    assert choose(found, 2).fits
    assert found.frame_sizes == (found.live.size,)


@pytest.mark.parametrize("model", [SMALL, LARGE, "tiny"])
def test_what_is_shown(model: str) -> None:
    plans = [choose(model_sizes(model), memory) for memory in (24, 3)]
    shown = rows(plans)
    assert {len(row) for row in shown} == {3}
    assert shown[0] == ("", "24 GiB", "3 GiB")
    assert {row[0].removeprefix("a session: ") for row in shown} >= {part.name for part in plans[0].parts}
    figures = json.loads(json.dumps([as_dict(each) for each in plans], allow_nan=False))
    on_gpu = sum(part["mib"] for part in figures[0]["parts"] if part["on"] == "gpu")
    assert figures[0]["total_mib"] == pytest.approx(on_gpu)
    assert figures[0]["fits"]


def test_a_line_says_how_or_how_much_too_much() -> None:
    model = model_sizes(SMALL)
    assert summary(choose(model, 8)) == (
        "wan2.1-1.3b in 8 GiB: fits with the tiny decoder, encoders on the CPU (10.58 GiB of main memory), "
        "fp8 weights, frames of 832×480; memory for 1 session"
    )
    much = summary(choose(model, 8, sessions=40))
    assert much.startswith("wan2.1-1.3b in 8 GiB: does not fit with 40 sessions, ")
    assert "frames of 416×240" in much


def test_what_cannot_be_planned_is_said() -> None:
    with pytest.raises(ValueError, match=r"no model named 'wan3'.*wan2\.1-1\.3b.*tiny"):
        model_sizes("wan3")
    with pytest.raises(ValueError, match="multiples of 16"):
        choose(model_sizes(SMALL), 24, size=(830, 480))
    with pytest.raises(ValueError, match="multiples of 32"):
        choose(model_sizes(LARGE), 24, size=(1280, 720))
    with pytest.raises(ValueError, match="decoder of its own"):
        choose(model_sizes("tiny"), 24, decoder="full")
    for memory, sessions in ((0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (8, 0)):
        with pytest.raises(ValueError, match="at least one session and some memory"):
            choose(model_sizes("tiny"), memory, sessions=sessions)


def test_every_name_can_be_planned() -> None:
    assert {SMALL, LARGE, f"{SMALL}-i2v", "tiny"} <= set(names())
    models: list[ModelSizes] = [model_sizes(name) for name in names()]
    assert all(Plan(model, 1, best(model.name)).total > 0 for model in models)


def test_the_program_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["doctor", "--plan", SMALL, "--memory", "16", "--decoder", "tiny", "--fp8", "--sessions", "2"]
    assert cli.run([*asked, "--size", "640x352", "--json", "plan.json"]) == errors.DONE
    (figures,) = json.loads((tmp_path / "plan.json").read_text())["plans"]
    assert (figures["decoder"], figures["fp8"], figures["size"]) == ("tiny", True, [640, 352])
    assert (figures["sessions_wanted"], figures["memory_gib"]) == (2, 16)
    assert "a session: decoder's memory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--memory", "16"], "name it with --plan"),
        (["--plan", "wan9"], "no model named 'wan9'"),
        (["--plan", SMALL, "--decoder", "big"], "tiny or full"),
        (["--plan", SMALL, "--memory", "-3"], "some memory"),
        (["--plan", SMALL, "--memory", "16", "--size", "831x480"], "multiples of 16"),
    ],
)
def test_the_program_says_what_is_wrong(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", *arguments]) == errors.WRONG_INPUT
    assert says in capsys.readouterr().err
