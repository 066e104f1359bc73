"""Published weights become a track model: every weight and channel accounted for, and the same network as before."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.wan.published_sources import random_dit, ship, sizes
from torch import Tensor

from motionstream.conditioning import Conditioning, ConditioningConfig
from motionstream.dit import CONFIGS, DiTConfig, VideoDiT
from motionstream.sampling import ModelConfig, MotionModel
from motionstream.wan.conversion import (
    NETWORK_FILE,
    Conversion,
    channel_map,
    convert,
    plan_conversion,
    track_model_inputs,
)
from motionstream.wan.families import FAMILIES
from motionstream.wan.weight_files import open_weights, write_weights
from motionstream.wan.weights import fill, in_wan_names, shapes_of

ROWS, COLUMNS, LATENTS = 4, 6, 2


@pytest.fixture(autouse=True)
def reduced_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of DiTs with the reduced ones of every family."""
    for family in FAMILIES:
        monkeypatch.setitem(CONFIGS, f"reduced {family}", sizes(family))


def filled(planned: Conversion) -> MotionModel:
    """The track model of a conversion."""
    with torch.device("meta"):
        model = MotionModel(ModelConfig(planned.dit, planned.conditioning), text=False)
    fill(model, planned.tensors(), "cpu", torch.float32)
    return model.eval()


def shipped(family: str, folder: Path, **how: object) -> tuple[VideoDiT, Path]:
    """A source's network, and its weights as they are shipped."""
    model = random_dit(sizes(family))
    if FAMILIES[family].student:
        state = {f"model.{name}": value for name, value in model.state_dict().items()}
        torch.save({"generator_ema": state}, folder / "student.pt")
        return model, folder / "student.pt"
    return model, ship(model, folder / "diffusion_pytorch_model.safetensors", **how)  # type: ignore[arg-type]


def prompt(config: DiTConfig) -> tuple[Tensor, Tensor | None]:
    clip = None if config.image_dim is None else torch.randn(1, 5, config.image_dim)
    return torch.randn(1, 3, config.text_dim), clip


def random_conditioning(config: ConditioningConfig) -> Conditioning:
    def channels(count: int) -> Tensor:
        return torch.randn(1, LATENTS, count, ROWS, COLUMNS)

    latent = config.latent_channels
    return Conditioning(channels(4 + latent), channels(256))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_track_model_is_the_published_network_on_its_own_channels(family: str, tmp_path: Path) -> None:
    theirs, path = shipped(family, tmp_path)
    planned = plan_conversion(path, family)
    ours = filled(planned)
    conditioning = random_conditioning(planned.conditioning)
    latent = planned.conditioning.latent_channels
    inputs = {
        "noise": torch.randn(1, LATENTS, latent, ROWS, COLUMNS),
        "mask": conditioning.first[:, :, :4],
        "first": conditioning.first[:, :, 4:],
        "control": ours.track_head(conditioning.volume),
    }
    t, (text, clip) = torch.tensor([[0.3, 0.8]]), prompt(theirs.config)
    context = ours.dit.text_context(text, clip)
    velocity = ours.velocity(inputs["noise"], t, conditioning, context)
    x = torch.cat([inputs[name] for name, _ in FAMILIES[family].inputs], 2)
    expected = theirs(x, t * 1000, theirs.text_context(text, clip))
    assert expected.abs().mean() > 0.05
    torch.testing.assert_close(velocity, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("diffusers", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_is_recognised(family: str, diffusers: bool, tmp_path: Path) -> None:
    _, path = shipped(family, tmp_path, diffusers=diffusers)
    found = plan_conversion(path)
    assert FAMILIES[found.family].inputs == FAMILIES[family].inputs
    assert found.family == {"wan2.1-fun-inp": "wan2.1-i2v"}.get(family, family)


def test_channels_go_where_they_mean_the_same() -> None:
    """The whole map of the paper's two starting points, by hand."""
    small = channel_map(FAMILIES["wan2.1-fun-control"], ConditioningConfig(16, 16))
    assert [(c.input, c.target, c.source) for c in small] == [
        ("noise", (0, 16), (0, 16)),
        ("mask", (16, 20), None),
        ("first", (20, 36), (32, 48)),
        ("tracks", (36, 52), (16, 32)),
    ]
    large = channel_map(FAMILIES["wan2.2-fun-control"], ConditioningConfig(48, 48))
    assert [(c.input, c.target, c.source) for c in large] == [
        ("noise", (0, 48), (0, 48)),
        ("mask", (48, 52), (96, 100)),
        ("first", (52, 100), (100, 148)),
        ("tracks", (100, 148), (48, 96)),
    ]


@pytest.mark.parametrize("tracks", [5, 16, 20])
def test_a_track_head_may_be_wider_or_narrower_than_the_control(tracks: int, tmp_path: Path) -> None:
    theirs, path = shipped("wan2.1-fun-control", tmp_path)
    planned = plan_conversion(path, track_channels=tracks)
    weight = filled(planned).dit.get_parameter("patch_embedding.weight")
    shared = min(tracks, 16)
    assert torch.equal(weight[:, 36 : 36 + shared], theirs.patch_embedding.weight[:, 16 : 16 + shared])
    assert weight.shape[1] == 36 + tracks
    assert not weight[:, 36 + shared :].any()
    assert planned.channels[-1].target[1] == 36 + tracks
    assert (planned.channels[-1].source is None) == (tracks > 16)


def test_inputs_are_those_of_the_conditioner() -> None:
    config = ConditioningConfig(16, 7)
    assert sum(count for _, count in track_model_inputs(config)) == 16 + config.channels


def gradients(model: MotionModel, seed: int = 1) -> tuple[float, float]:
    """Largest gradient at the track head's weights, and at the tracks' columns of the patch embedding."""
    torch.manual_seed(seed)
    conditioning = random_conditioning(model.config.conditioning)
    latent = model.config.conditioning.latent_channels
    noise = torch.randn(1, LATENTS, latent, ROWS, COLUMNS)
    text, clip = prompt(model.config.dit)
    model.zero_grad()
    velocity = model.velocity(noise, torch.full((1, LATENTS), 0.5), conditioning, model.dit.text_context(text, clip))
    (velocity - torch.randn_like(noise)).square().mean().backward()
    head, patch = model.track_head.project.weight.grad, model.dit.get_parameter("patch_embedding.weight").grad
    assert head is not None
    assert patch is not None
    return float(head.abs().max()), float(patch[:, 4 + 2 * latent :].abs().max())


@pytest.mark.parametrize("family", ["wan2.1-fun-control", "wan2.2-fun-control"])
def test_with_a_control_video_the_head_learns_from_the_first_step(family: str, tmp_path: Path) -> None:
    _, path = shipped(family, tmp_path)
    head, columns = gradients(filled(plan_conversion(path)))
    assert head > 1e-6
    assert columns > 1e-6


@pytest.mark.parametrize("family", ["wan2.1-t2v", "wan2.1-i2v", "wan2.2-ti2v"])
def test_without_one_its_columns_learn_first_then_the_head(family: str, tmp_path: Path) -> None:
    _, path = shipped(family, tmp_path)
    planned = plan_conversion(path)
    model = filled(planned)
    head, columns = gradients(model)
    assert head == 0
    assert columns > 1e-6
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    head, _ = gradients(model, seed=2)
    assert head > 1e-8
    head, _ = gradients(filled(plan_conversion(path, track_init=0.02)))
    assert head > 1e-6


def test_what_is_drawn_is_drawn_by_the_seed(tmp_path: Path) -> None:
    _, path = shipped("wan2.1-t2v", tmp_path)
    planned = plan_conversion(path, track_init=0.1)
    one, same, other = (dict(planned.tensors(seed)) for seed in (3, 3, 4))
    drawn = {name for name in one if not torch.equal(one[name], other[name])}
    assert drawn == {"track_head.project.weight", "dit.patch_embedding.weight"}
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not one["track_head.project.bias"].any()
    tracks = one["dit.patch_embedding.weight"][:, 36:]
    assert 0.08 < float(tracks.std()) < 0.12
    assert not one["dit.patch_embedding.weight"][:, 16:36].any()
    with pytest.raises(ValueError, match="track_init -1: a standard deviation"):
        plan_conversion(path, track_init=-1)
    new = planned.report()["weights"]["new"]
    assert new["dit.patch_embedding.weight[:, 36:52]"] == "tracks: drawn, 0.1"
    assert new["dit.patch_embedding.weight[:, 20:36]"] == "first: zero"


def test_every_weight_is_accounted_for(tmp_path: Path) -> None:
    more = {
        "ref_conv.weight": torch.zeros(24, 16, 2, 2),
        "ref_conv.bias": torch.zeros(24),
        "blocks.1.attn2.norm_added_q.weight": torch.zeros(24),
    }
    theirs = random_dit(sizes("wan2.1-fun-control"))
    path = ship(theirs, tmp_path / "w.safetensors", more=more)
    planned = plan_conversion(path)
    report = planned.report()
    assert set(planned.dropped) == set(more)
    assert report["weights"]["in_source"] == len(theirs.state_dict()) + 3
    assert report["weights"]["taken"] == len(theirs.state_dict())
    assert set(report["weights"]["new"]) == {
        "dit.patch_embedding.weight[:, 16:20]",
        "track_head.project.weight",
        "track_head.project.bias",
    }
    assert report["family"] == "wan2.1-fun-control"
    assert "Apache-2.0" in report["licence"]
    assert report["parameters"] == sum(p.numel() for p in filled(planned).parameters())
    assert set(planned.layout()) == set(filled(planned).state_dict())
    assert [name for name, _ in planned.tensors()] == list(planned.layout())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.norm3.weight": None, "odd": torch.zeros(1)}, r"missing: blocks\.0\.norm3\.weight; unknown: odd"),
        ({"control_adapter.conv.weight": torch.zeros(1)}, r"unknown: control_adapter\.conv\.weight"),
        ({"ref_conv.weight": torch.zeros(1)}, r"unknown: ref_conv\.weight"),
        ({"blocks.0.norm3.bias": torch.zeros(3)}, r"of another shape: blocks\.0\.norm3\.bias \(3,\), not \(24,\)"),
        ({"patch_embedding.weight": torch.zeros(24, 32, 1, 2, 2)}, "takes 32 input channels: no family fits"),
        ({"head.head.weight": None, "patch_embedding.weight": None}, "no Wan DiT: patch_embedding.weight, head"),
    ],
)
def test_every_surprise_is_named(change: dict[str, Tensor | None], message: str, tmp_path: Path) -> None:
    state = random_dit(sizes("wan2.1-t2v")).state_dict() | change
    save_file({name: value for name, value in state.items() if value is not None}, str(tmp_path / "w.safetensors"))
    with pytest.raises(ValueError, match=message):
        plan_conversion(tmp_path)


def test_families_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    _, path = shipped("wan2.1-i2v", tmp_path)
    with pytest.raises(
        ValueError,
        match=r"takes 36 input channels and CLIP tokens: it is not wan2\.1-fun-control \(wan2\.1-fun-control 48",
    ):
        plan_conversion(path, "wan2.1-fun-control")
    with pytest.raises(ValueError, match=r"no family 'wan3'.*wan2\.1-t2v"):
        plan_conversion(path, "wan3")
    ship(random_dit(replace(sizes("wan2.1-i2v"), ffn=40)), path)
    with pytest.raises(ValueError, match="width 24, 2 layers, feed-forward 40: no model of these sizes"):
        plan_conversion(path)


def test_sizes_are_found_in_the_table(tmp_path: Path) -> None:
    _, path = shipped("wan2.1-i2v", tmp_path)
    assert plan_conversion(path).dit.heads == 2


def test_a_converted_folder_says_what_it_is(tmp_path: Path) -> None:
    _, path = shipped("wan2.1-fun-control", tmp_path)
    planned = plan_conversion(path)
    seen: list[str] = []

    def over(tensors):  # type: ignore[no-untyped-def]
        for name, tensor in tensors:
            seen.append(name)
            yield name, tensor

    out = tmp_path / "out"
    header = convert(planned, out, torch.float32, seed=5, over=over)
    assert seen == list(planned.layout())
    assert json.loads((out / NETWORK_FILE).read_text()) == json.loads(json.dumps(header))
    assert header["network"]["dit"]["in_channels"] == planned.dit.in_channels
    assert list(header["sha256"]) == ["network.safetensors"]
    written = open_weights(out)
    expected = dict(planned.tensors(seed=5))
    assert all(torch.equal(written.read(name), value) for name, value in expected.items())
    assert written.shapes.keys() == expected.keys()
    with pytest.raises(ValueError, match="has weights already"):
        convert(planned, out)


def original_layout(row: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of Wan's own files, written out from the publisher's format."""
    width, ffn = row.width, row.ffn
    layout: dict[str, tuple[int, ...]] = {"patch_embedding.weight": (width, row.in_channels, 1, 2, 2)}
    layout |= {"patch_embedding.bias": (width,), "head.modulation": (1, 2, width)}

    def linear(name: str, inputs: int, outputs: int) -> None:
        layout[f"{name}.weight"], layout[f"{name}.bias"] = (outputs, inputs), (outputs,)

    linear("text_embedding.0", 4096, width)
    linear("text_embedding.2", width, width)
    linear("time_embedding.0", 256, width)
    linear("time_embedding.2", width, width)
    linear("time_projection.1", width, 6 * width)
    linear("head.head", width, 4 * row.out_channels)
    for block in (f"blocks.{number}" for number in range(30)):
        layout[f"{block}.modulation"] = (1, 6, width)
        layout |= {f"{block}.norm3.weight": (width,), f"{block}.norm3.bias": (width,)}
        linear(f"{block}.ffn.0", width, ffn)
        linear(f"{block}.ffn.2", ffn, width)
        for attention in (f"{block}.self_attn", f"{block}.cross_attn"):
            for name in "qkvo":
                linear(f"{attention}.{name}", width, width)
            layout |= {f"{attention}.norm_q.weight": (width,), f"{attention}.norm_k.weight": (width,)}
        if row.image_dim:
            linear(f"{block}.cross_attn.k_img", width, width)
            linear(f"{block}.cross_attn.v_img", width, width)
            layout[f"{block}.cross_attn.norm_k_img.weight"] = (width,)
    if row.image_dim:
        layout |= {f"img_emb.proj.{n}.{leaf}": (c,) for n, c in ((0, 1280), (4, width)) for leaf in ("weight", "bias")}
        linear("img_emb.proj.1", 1280, 1280)
        linear("img_emb.proj.3", 1280, width)
    return layout


@pytest.mark.parametrize(("name", "count"), [("wan2.1-1.3b", 825), ("wan2.1-1.3b-i2v", 983), ("wan2.2-5b", 825)])
def test_full_sizes_have_the_names_and_shapes_of_the_original_files(name: str, count: int) -> None:
    with torch.device("meta"):
        ours = shapes_of(VideoDiT(CONFIGS[name]).state_dict())
    assert len(ours) == count
    assert ours == original_layout(CONFIGS[name])


MEASURED = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from motionstream.dit import CONFIGS, VideoDiT
from motionstream.wan.weight_files import open_weights
from motionstream.wan.weights import fill
def kib(what):
    return int(Path("/proc/self/status").read_text().split(what + ":")[1].split()[0])
def load(path, **sizes):
    with torch.device("meta"):
        model = VideoDiT(replace(CONFIGS["wan2.1-1.3b"], **sizes))
    files = open_weights(path)
    fill(model, ((name, files.read(name)) for name in files.shapes), "cpu", torch.bfloat16)
    return model
load(sys.argv[1], width=24, heads=2, layers=1, ffn=8)
before = kib("VmRSS")
model = load(sys.argv[2], width=1024, heads=8, layers=9, ffn=4096)
print(kib("VmHWM") - before, sum(p.numel() for p in model.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc, on Linux alone")
def test_loading_takes_no_second_copy_of_main_memory(tmp_path: Path) -> None:
    """Files of 330 MB: the peak stays within 150 MB of the weights. Measured in a process of its own, and not as its
    ru_maxrss, which a child has from its parent."""
    large = replace(CONFIGS["wan2.1-1.3b"], width=1024, heads=8, layers=9, ffn=4096)
    for folder, config in (("one", replace(large, width=24, heads=2, layers=1, ffn=8)), ("two", large)):
        with torch.device("meta"):
            layout = shapes_of(VideoDiT(config).state_dict())
        zeros = ((name, torch.zeros(shape, dtype=torch.bfloat16)) for name, shape in layout.items())
        write_weights(tmp_path / folder, layout, zeros, torch.bfloat16, limit=100_000_000)
    paths = [str(tmp_path / folder) for folder in ("one", "two")]
    done = subprocess.run([sys.executable, "-c", MEASURED, *paths], capture_output=True, text=True, check=True)
    peak_kib, parameters = (int(word) for word in done.stdout.split())
    weights = 2 * parameters
    assert weights > 300e6
    assert 0.9 * weights < peak_kib * 1024 < weights + 150e6


def test_names_of_diffusers_and_of_wrappers_are_renamed(tmp_path: Path) -> None:
    theirs, path = shipped("wan2.1-t2v", tmp_path)
    wrapped = {f"model.diffusion_model.{name}": value for name, value in theirs.state_dict().items()}
    save_file(wrapped, str(tmp_path / "wrapped.safetensors"))
    assert in_wan_names(open_weights(tmp_path / "wrapped.safetensors")).shapes == open_weights(path).shapes
