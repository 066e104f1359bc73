"""Wan's recipes and stages, on a network of the same structure and a few thousand weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from tests.small import GEOMETRY, moving_tracks, picture, small_vae
from tests.train.smoke import changed, weights, without_gradient
from tests.train.wan import PREPARED, STAGES, a_clip, make, recipe, run_chain, write_clips, write_start
from torch import Tensor, nn

from motionstream.conditioning import TrackConditioner
from motionstream.data.clip_shards import INDEX, ClipShards, ClipShardWriter
from motionstream.diffusion import interpolate
from motionstream.sampling import MotionModel, frame_times, keyed, rollout
from motionstream.train import activation_checkpointing, named, self_forcing, train, wan_data
from motionstream.train.causal_init import CausalInitStage, random_mask, teacher_forcing
from motionstream.train.checkpoint import Checkpoints
from motionstream.train.motion_data import Drops, context_of
from motionstream.train.motion_stage import new_cache
from motionstream.train.network import model_config, new_model
from motionstream.train.points import Choice
from motionstream.train.recipe import CausalInitRecipe, MotionRecipe, SelfForcingRecipe, TeacherRecipe
from motionstream.train.recipes_wan import NETWORK_1_3B, REDUCED
from motionstream.train.self_forcing import SelfForcingStage
from motionstream.train.teacher import TeacherStage, flow_losses, flow_matching
from motionstream.train.wan_data import ShardData, geometry_of

GPUS = 32
"""Of the paper's run."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    """The reduced chain, trained. To be read, not written."""
    out = tmp_path_factory.mktemp("wan")
    run_chain(out, clips)
    return out


# Recipes


@pytest.mark.parametrize("name", ["wan_1_3b", "wan_5b"])
def test_recipes_hold_the_papers_figures(name: str) -> None:
    teacher, masked, causal, forcing = (named(stage, name) for stage in STAGES)
    assert isinstance(teacher, TeacherRecipe)
    assert isinstance(masked, TeacherRecipe)
    assert isinstance(causal, CausalInitRecipe)
    assert isinstance(forcing, SelfForcingRecipe)
    clips_a_step = [one.batch * one.accumulate * GPUS for one in (teacher, masked, causal, forcing)]
    assert clips_a_step == [128, 128, 128, 64]
    assert (teacher.steps, teacher.lr, masked.steps, masked.lr) == (
        4800,
        1e-5,
        800 if name == "wan_1_3b" else 400,
        1e-6,
    )
    assert (teacher.mask_probability, masked.mask_probability) == (0, 0.2)
    assert (causal.lr, forcing.lr, forcing.lr_critic) == (2e-6, 2e-6, 4e-7)
    assert forcing.steps == 400 * forcing.critic_ratio == 2000
    assert (forcing.chunk, forcing.sink, forcing.window, forcing.denoising_steps) == (3, 3, 3, 3)
    for one in (teacher, masked, causal, forcing):
        assert (one.shift, one.points_min, one.points_max) == (6.0, 1000, 2500)
        assert one.sharded
        assert (one.size, one.frames) == (((832, 480), 81) if name == "wan_1_3b" else ((1280, 704), 121))
    for one in (causal, forcing):
        assert (one.w_t, one.w_m) == (3.0, 1.5)


@pytest.mark.parametrize(("name", "tokens", "billions"), [("wan_1_3b", 1560, 1.42), ("wan_5b", 880, 5.0)])
def test_networks_are_wans(name: str, tokens: int, billions: float) -> None:
    made = named("teacher", name)
    assert isinstance(made, TeacherRecipe)
    assert geometry_of(made).tokens_per_latent == tokens
    with torch.device("meta"):
        model = MotionModel(model_config(made.network, wan_data.CHANNELS[made.vae]), text=False)
    count = sum(p.numel() for p in model.parameters()) / 1e9
    assert count == pytest.approx(billions, rel=0.12), "and what the CLIP branch of the smaller adds"


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(ValueError, match=r"unknown 'wan2.1-1.3c'; did you mean 'wan2.1-1.3b"):
        model_config(replace(NETWORK_1_3B, dit="wan2.1-1.3c"), 16)
    with pytest.raises(ValueError, match="latents of 16 channels, the VAE has 48"):
        model_config(NETWORK_1_3B, 48)
    with pytest.raises(ValueError, match="sizes of its own"):
        replace(NETWORK_1_3B, width=64)
    with pytest.raises(ValueError, match="heads missing"):
        replace(REDUCED, heads=0)
    with pytest.raises(ValueError, match="encoded_text goes with data = 'shards'"):
        recipe("teacher", data="synthetic")
    with pytest.raises(ValueError, match=r"unknown 'wan2\.3'"):
        geometry_of(named_recipe(vae="wan2.3"))


def named_recipe(**changes: object) -> MotionRecipe:
    made = recipe("teacher", **changes)
    assert isinstance(made, MotionRecipe)
    return made


# Prepared clips


def test_clips_come_back_from_their_shards(clips: Path) -> None:
    read = ClipShards(clips)
    assert (len(read), read.prepared) == (7, PREPARED)
    assert len(list(clips.glob("shard-*.safetensors"))) == 3
    for number in (0, 3, 6):
        made, wanted = read[number], a_clip(number)
        assert torch.equal(made.latents, wanted.latents)
        assert torch.equal(made.text, wanted.text)
        assert made.seen is not None
        assert wanted.seen is not None
        assert torch.equal(made.seen, wanted.seen)
        assert np.array_equal(made.tracks.xy, wanted.tracks.xy)
        assert np.array_equal(made.tracks.visible, wanted.tracks.visible)
        assert made.caption == wanted.caption


def test_a_folder_with_the_older_name_of_the_null_prompt_is_read(tmp_path: Path) -> None:
    folder = write_clips(tmp_path, 2)
    wanted = ClipShards(folder).null_prompt
    (folder / "null_prompt.safetensors").rename(folder / "unsaid.safetensors")
    assert torch.equal(ClipShards(folder).null_prompt, wanted)
    (folder / "unsaid.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"null_prompt.safetensors is missing: prepare the clips again"):
        ClipShards(folder)


def test_folders_that_are_not_whole_are_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index\.json is missing"):
        ClipShards(tmp_path)
    writer = ClipShardWriter(tmp_path / "cut", PREPARED, torch.zeros(1, 32))
    writer.add(a_clip(0))
    with pytest.raises(FileNotFoundError, match=r"index\.json is missing"):
        ClipShards(tmp_path / "cut")
    with pytest.raises(ValueError, match="these shards hold 5 latents of 16 channels and 17 frames"):
        writer.add(replace(a_clip(1), latents=torch.zeros(4, 16, 6, 8)))
    with pytest.raises(ValueError, match="picture tokens"):
        writer.add(replace(a_clip(1), seen=None))
    whole = write_clips(tmp_path / "whole", 2)
    with pytest.raises(ValueError, match="holds prepared clips already"):
        write_clips(whole)
    shard = whole / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"shard-00000.safetensors is damaged"):
        ClipShards(whole)[0]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-00000.safetensors is missing"):
        ClipShards(whole)[0]
    (whole / INDEX).write_text('{"format": 1}')
    with pytest.raises(ValueError, match="incomplete"):
        ClipShards(whole)


@pytest.mark.parametrize(("setting", "what"), [("size", (128, 48)), ("frames", 21), ("vae", "wan2.2")])
def test_clips_prepared_for_another_recipe_are_refused(clips: Path, setting: str, what: object) -> None:
    changes = {"size": (128, 64)} if setting == "vae" else {}
    with pytest.raises(ValueError, match="prepared with"):
        ShardData(named_recipe(**{setting: what, **changes}), clips, Choice(10, 40), Drops())


def source(clips: Path, drops: Drops | None = None) -> ShardData:
    return ShardData(named_recipe(), clips, Choice(10, 40), drops or Drops())


def test_every_clip_is_drawn_once_an_epoch(clips: Path) -> None:
    data = source(clips)
    first, second = ([data._clip(epoch * 7 + place) for place in range(7)] for epoch in range(2))
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second


def test_passes_are_the_same_however_many_ranks_share_them(clips: Path) -> None:
    alone = source(clips, Drops(0.3, 0.3, 0.2))
    wanted = [alone.next(no_motion=True) for _ in range(4)]
    for which in range(2):
        with patch.multiple(wan_data, rank=lambda which=which: which, world_size=lambda: 2):
            mine = source(clips, Drops(0.3, 0.3, 0.2))
            for number in (which, which + 2):
                made = mine.next(no_motion=True)
                assert made.key == wanted[number].key
                assert torch.equal(made.latents, wanted[number].latents)
                assert torch.equal(made.conditioning.volume, wanted[number].conditioning.volume)
                assert not isinstance(made.prompts, list)
                assert not isinstance(wanted[number].prompts, list)
                assert torch.equal(made.prompts.tokens, wanted[number].prompts.tokens)
            assert mine.state_dict() == {"passes": 4}
    assert len({sample.key for sample in wanted}) == 4


def test_conditioning_is_what_a_stream_makes(clips: Path) -> None:
    vae, tracks = small_vae(), moving_tracks(GEOMETRY.frames(4))
    made = TrackConditioner(vae, GEOMETRY, seed=5).clip(picture(), tracks)
    latents = torch.cat([vae.encode(picture()[:, None]), torch.randn(1, 3, 6, 4, 6)], 1)
    data = source(clips)
    data.geometry = GEOMETRY
    ours = data._conditioning(latents, tracks, 5)
    for part in ("first", "volume"):
        torch.testing.assert_close(getattr(ours, part), getattr(made, part), msg=part)


def test_drops_take_prompts_and_tracks_away(clips: Path) -> None:
    steered, quiet = source(clips).next(no_motion=True), source(clips, Drops(both=1.0)).next()
    assert steered.conditioning.volume.any()
    assert steered.no_motion is not None
    assert not steered.no_motion.volume.any()
    assert not quiet.conditioning.volume.any()
    assert not isinstance(quiet.prompts, list)
    assert quiet.null_prompt is not None
    assert torch.equal(quiet.prompts.tokens, quiet.null_prompt.tokens)


# Stages


def test_the_chain_runs_with_finite_losses(wan: Path) -> None:
    for stage in STAGES:
        lines = [json.loads(line) for line in (wan / stage / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert all(math.isfinite(value) for line in lines for value in line.values())
        assert all(line["skipped"] == 0 for line in lines)


def test_it_starts_from_converted_weights_and_the_files_stay_as_they_are(tmp_path: Path, clips: Path) -> None:
    start = write_start(tmp_path)
    before = (start / "a.safetensors").read_bytes()
    stage = make(TeacherStage, "teacher", clips, tmp_path)
    old = weights(stage.model)
    assert torch.equal(old["dit.blocks.0.ffn.0.weight"], old["dit.blocks.0.ffn.0.weight"].bfloat16().float())
    assert math.isfinite(stage.step(0, 0.0)["loss"])
    assert changed(old, stage.model) == set(old)
    assert (start / "a.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match="do not fit the network"):
        new_model(replace(REDUCED, width=64), 16, start)


def test_an_interrupted_run_leaves_the_weights_it_goes_on_from_alone(wan: Path, clips: Path, tmp_path: Path) -> None:
    """Averaged weights are mapped from the file of the stage before; training on must not write there."""
    newest = Checkpoints(wan / "teacher" / "checkpoints").path(4) / "ema.safetensors"
    before = newest.read_bytes()
    make(TeacherStage, "teacher-mask", clips, wan).step(0, 0.0)
    assert newest.read_bytes() == before


@pytest.mark.parametrize(("stage", "interrupted"), [("teacher", 2), ("causal", 3), ("self-forcing", 1)])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    wan: Path, clips: Path, tmp_path: Path, stage: str, interrupted: int
) -> None:
    for before in ("init", *STAGES):
        if before != stage:
            (tmp_path / before).symlink_to(wan / before)
    train(stage, recipe(stage, steps=interrupted), tmp_path, clips)
    train(stage, recipe(stage), tmp_path, clips)
    for file in ("state.safetensors", "ema.safetensors"):
        ours, theirs = (Checkpoints(out / stage / "checkpoints").path(4) / file for out in (tmp_path, wan))
        assert ours.read_bytes() == theirs.read_bytes()


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def forcing_gradients(wan: Path, clips: Path, checkpointed: bool) -> dict[str, Tensor]:
    """Of the student by the rollout's loss: five chunks, a window of one latent that rolls, a sink of one."""
    stage = make(SelfForcingStage, "self-forcing", clips, wan, activation_checkpointing=checkpointed, accumulate=1)
    with patch.object(self_forcing, "exit_step", return_value=1), patch.object(stage.updater, "apply", return_value={}):
        stage.step(0, 0.0)
    return gradients(stage.student)


def test_a_checkpointed_rollout_has_the_same_gradient_exactly(wan: Path, clips: Path) -> None:
    plain, again = (forcing_gradients(wan, clips, checkpointed) for checkpointed in (False, True))
    assert plain.keys() == again.keys()
    assert all(plain[name].any() for name in plain)
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_the_comparison_would_notice_a_block_that_reads_the_cache_as_it_is_going_backward(
    wan: Path, clips: Path
) -> None:
    """One chunk that sees a full sink and window: what it reads again has the same shape and is another past."""
    found = {}
    for form in ("plain", "own", "live"):
        stage = make(SelfForcingStage, "self-forcing", clips, wan, activation_checkpointing=form != "plain")
        keep = activation_checkpointing.with_own_past if form == "own" else (lambda attend_to, _: attend_to)
        with patch.object(activation_checkpointing, "with_own_past", keep):
            found[form] = _late_gradient(stage)
    assert torch.equal(found["plain"], found["own"])
    assert not torch.allclose(found["plain"], found["live"], atol=0, rtol=1e-2)


def _late_gradient(stage: SelfForcingStage) -> Tensor:
    """Of a middle chunk, in which sink and window are full, after two more have been committed."""
    sample = stage.data.next()
    student, context = stage.student, context_of(stage.student, sample)
    cache = new_cache(student, sample.latents, stage.recipe.live.rollout_config)
    chunks = list(
        rollout(
            student, cache, sample.conditioning, context, stage.recipe.live.rollout_config, keyed(3), sample.first, 0
        )
    )
    chunks[2].square().mean().backward()  # type: ignore[no-untyped-call]
    gradient = stage.student.dit.blocks[0].get_parameter("self_attn.q.weight").grad
    assert gradient is not None
    return gradient


@pytest.mark.parametrize(("kind", "name"), [(TeacherStage, "teacher"), (CausalInitStage, "causal")])
def test_checkpointed_passes_have_the_same_gradient_exactly(wan: Path, clips: Path, kind: type, name: str) -> None:
    found = []
    for checkpointed in (False, True):
        stage = make(kind, name, clips, wan, activation_checkpointing=checkpointed)
        losses_of(stage)["loss"].backward()  # type: ignore[no-untyped-call]
        found.append(gradients(stage.model))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def losses_of(stage: TeacherStage | CausalInitStage) -> dict[str, Tensor]:
    """Of one pass of flow matching."""
    sample = stage.data.next()
    if isinstance(stage, TeacherStage):
        return flow_matching(stage.model, sample, stage.recipe, stage.random)
    mask = random_mask(stage.recipe, sample.latents.shape[1], stage.random)
    return teacher_forcing(stage.model, sample, mask, stage.recipe, stage.random)


def test_a_checkpointed_pass_may_not_commit(wan: Path, clips: Path) -> None:
    stage = make(SelfForcingStage, "self-forcing", clips, wan, activation_checkpointing=True)
    sample, student = stage.data.next(), stage.student
    cache, context = new_cache(student, sample.latents, stage.recipe.live.rollout_config), context_of(student, sample)
    with pytest.raises(ValueError, match=r"run it under torch.no_grad"):
        student.commit(sample.first, torch.zeros(1, 1), sample.conditioning.slice(0, 1), context, cache)


def test_two_accumulated_passes_are_one_of_both_clips(wan: Path, clips: Path) -> None:
    one, two = (make(TeacherStage, "teacher", clips, wan, batch=batch) for batch in (1, 2))
    both = two.data.next()
    t, noise = torch.tensor([0.3, 0.9]), torch.randn(both.latents.shape)
    two.updater.accumulate = 1
    two.updater.backward({"loss": _loss(two, both, t, noise)})
    for clip in range(2):
        one.updater.backward({"loss": _loss(one, _part(both, clip), t[clip : clip + 1], noise[clip : clip + 1])})
    accumulated, whole = gradients(one.model), gradients(two.model)
    assert accumulated.keys() == whole.keys()
    for name in whole:
        torch.testing.assert_close(accumulated[name], whole[name], atol=1e-6, rtol=1e-4, msg=name)


def _loss(stage: TeacherStage, sample: object, t: Tensor, noise: Tensor) -> Tensor:
    times = frame_times(t, sample.latents)  # type: ignore[attr-defined]
    noisy = interpolate(sample.latents, noise, times)  # type: ignore[attr-defined]
    context = context_of(stage.model, sample)  # type: ignore[arg-type]
    guess = stage.model.clean(noisy, times, sample.conditioning, context)  # type: ignore[attr-defined]
    return flow_losses(stage.model, guess, times, sample)["loss"]  # type: ignore[arg-type]


def _part(sample: object, clip: int) -> object:
    """One clip of a batch."""
    own = slice(clip, clip + 1)
    conditioning = type(sample.conditioning)(  # type: ignore[attr-defined]
        *(tensor[own] for tensor in sample.conditioning.tensors())  # type: ignore[attr-defined]
    )
    prompts = type(sample.prompts).of([sample.prompts.row(clip)])  # type: ignore[attr-defined]
    return replace(  # type: ignore[type-var]
        sample,
        latents=sample.latents[own],
        conditioning=conditioning,
        prompts=prompts,
        seen=sample.seen[own],  # type: ignore[attr-defined]
    )


def test_the_head_learns_in_the_first_stage_alone(wan: Path, clips: Path) -> None:
    for name, frozen in (("teacher", False), ("teacher-mask", True)):
        stage = make(TeacherStage, name, clips, wan)
        losses_of(stage)["loss"].backward()  # type: ignore[no-untyped-call]
        head = {key for key in without_gradient(stage.model) if key.startswith("track_head.")}
        assert bool(head) == frozen


def test_all_passes_of_a_step_make_the_same_number_of_calls(wan: Path, clips: Path) -> None:
    """Else ranks that share one network would wait for one another for ever."""
    stage = make(SelfForcingStage, "self-forcing", clips, wan, accumulate=3, denoising_steps=3, critic_ratio=100)
    seen: list[int] = []
    inner = self_forcing.exit_step

    def watched(recipe: SelfForcingRecipe, key: int, random: torch.Generator) -> int:
        seen.append(inner(recipe, key, random))
        return seen[-1]

    with patch.object(self_forcing, "exit_step", watched):
        for step in range(1, 7):
            stage.step(step, 0.0)
    steps = [seen[3 * step : 3 * step + 3] for step in range(6)]
    assert all(len(set(step)) == 1 for step in steps)
    assert len({step[0] for step in steps}) > 1
