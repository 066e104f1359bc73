"""The tracks are true: what a point looks like stays the same along its track, and hidden points are covered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from motionstream.data import effects
from motionstream.data.assets import AssetLibrary
from motionstream.data.layers import Layer
from motionstream.data.motion import FASTEST, SPEED_WIDTH
from motionstream.data.render import draw
from motionstream.data.synthetic import CAMERA, DRAG, MIXED, STILL, Clip, SyntheticWorlds, World

ASSETS = Path(__file__).parent / "assets"

CLIPS = 24


@pytest.fixture(scope="module")
def clips(worlds: SyntheticWorlds) -> list[Clip]:
    return [worlds.sample(index) for index in range(CLIPS)]


@pytest.fixture(scope="module")
def made(worlds: SyntheticWorlds) -> list[World]:
    return [worlds.world(index) for index in range(CLIPS)]


def patches(video: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """(F, N, 25, 3) colours of 5×5 pixels around (F, N, 2) positions."""
    frames = torch.from_numpy(video).permute(0, 3, 1, 2).float()
    offsets = torch.tensor([[x, y] for y in range(-2, 3) for x in range(-2, 3)])
    at = (torch.tensor(xy)[:, :, None] + offsets) / torch.tensor([video.shape[2], video.shape[1]]) * 2 - 1
    sampled = torch.nn.functional.grid_sample(frames, at.float(), align_corners=False, padding_mode="border")
    return sampled.permute(0, 2, 3, 1).numpy()


def change(clip: Clip, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median colour change of the patches along `xy`, step by step, and which steps of true tracks really move."""
    seen = patches(clip.video, xy)
    steps = np.median(np.abs(np.diff(seen, axis=0)).mean(-1), axis=-1)
    both = clip.tracks.visible[1:] & clip.tracks.visible[:-1]
    moves = np.linalg.norm(np.diff(clip.tracks.xy, axis=0), axis=-1) > 1.5
    return steps, both & moves


def test_a_patch_looks_the_same_at_its_next_position(clips: list[Clip]) -> None:
    true, still, false = [], [], []
    for clip in clips:
        xy = clip.tracks.xy
        steps, moving = change(clip, xy)
        true.append(steps[moving])
        still.append(change(clip, np.repeat(xy[:1], len(xy), 0))[0][moving])
        false.append(change(clip, xy[:1] - (xy - xy[:1]))[0][moving])  # the track run backwards from its start
    average = [float(np.concatenate(values).mean()) for values in (true, still, false)]
    assert sum(map(len, true)) > 2000
    assert average[0] < 2.5, "grey levels of 255 that the true track's patch changes in a step"
    assert average[1] > 2.5 * average[0]
    assert average[2] > 2.5 * average[0]


def test_a_patch_keeps_its_look_over_the_whole_clip(worlds: SyntheticWorlds) -> None:
    """Rigid, uncovered ground under a moving camera, first frame against last: nothing drifts."""
    checked = 0
    for index in range(60):
        world = worlds.world(index)
        if world.plot != CAMERA:
            continue
        clip = worlds.sample(index)
        ground = (clip.object_of == 0) & clip.tracks.visible.all(0)
        ends = patches(clip.video[[0, -1]], clip.tracks.xy[[0, -1]][:, ground])
        assert np.median(np.abs(ends[0] - ends[1])) < 3
        checked += ground.sum()
    assert checked > 300


def covering(world: World, tracks_xy: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """(F, N): whether drawing only the layers nearer than a point's own leaves nothing of it to be seen there."""
    count = len(tracks_xy)
    clear = torch.zeros(count, len(owner))
    for layer in world.layers[1:]:
        if not layer.solid:
            continue
        mask = mask_of(layer, world)
        x, y = (np.clip(tracks_xy[..., i].astype(int), 0, world.size[i] - 1) for i in (0, 1))
        here = mask[np.arange(count)[:, None], y, x]
        clear = torch.maximum(clear, torch.from_numpy(here * (layer.number > owner)))
    return clear.numpy()


def mask_of(layer: Layer, world: World) -> np.ndarray:
    """(F, H, W) alpha of one layer, drawn by the renderer itself: white, over a black ground."""
    white = Layer(layer.texture[3:].expand(4, -1, -1).contiguous(), layer.placement, layer.number)
    black = Layer(torch.zeros_like(world.layers[0].texture), world.layers[0].placement, 0)
    return draw([black, white], world.size, torch.device("cpu"))[:, 0].numpy()


def test_visible_points_are_uncovered_and_hidden_ones_are_covered(
    worlds: SyntheticWorlds, made: list[World], clips: list[Clip]
) -> None:
    hidden_seen = 0
    for world, clip in zip(made, clips, strict=True):
        xy, visible = clip.tracks.xy, clip.tracks.visible
        cover = covering(world, xy, clip.object_of)
        inside = ((xy >= 0) & (xy < np.array(world.size))).all(-1)
        assert not visible[~inside].any()
        # The mask is read at pixel centres, up to half a pixel from the point: only clear cases are judged.
        assert (cover[visible] > 0.97).mean() < 0.002
        born = np.maximum.accumulate(visible, 0)
        hidden = born & inside & ~visible
        assert (cover[hidden] > 0.03).mean() > 0.998 if hidden.any() else True
        hidden_seen += hidden.sum()
    assert hidden_seen > 500


def test_points_are_born_where_new_ground_appears(clips: list[Clip]) -> None:
    first = np.concatenate([clip.tracks.visible.argmax(0) for clip in clips])
    assert (first == 0).mean() > 0.6
    assert (first > 0).mean() > 0.03


def test_every_point_is_seen_at_its_birth_and_belongs_to_something(clips: list[Clip]) -> None:
    for clip in clips:
        assert clip.tracks.points == 200
        assert clip.tracks.visible.any(0).all()
        assert np.isfinite(clip.tracks.xy).all()
    assert {0, 1} < set(np.concatenate([clip.object_of for clip in clips]).tolist())


def speeds(clip: Clip) -> np.ndarray:
    return np.linalg.norm(np.diff(clip.tracks.xy, axis=0), axis=-1)


def by_plot(worlds: SyntheticWorlds, plot: str, count: int) -> Iterator[Clip]:
    numbers = (index for index in range(400) if worlds.world(index).plot == plot)
    for _ in range(count):
        yield worlds.sample(next(numbers))


def test_still_scenes_do_not_move(worlds: SyntheticWorlds) -> None:
    for clip in by_plot(worlds, STILL, 3):
        assert speeds(clip).max() < 1e-4
        assert (clip.video == clip.video[:1]).all()


def test_a_drag_moves_one_object_with_soft_starts_and_nothing_else(worlds: SyntheticWorlds) -> None:
    for clip in by_plot(worlds, DRAG, 6):
        speed = speeds(clip)
        moved = set(clip.object_of[speed.max(0) > 1e-3].tolist())
        assert len(moved) == 1
        assert 0 not in moved
        fastest = speed[:, clip.object_of == moved.pop()].max(1)
        assert fastest.max() > 0.2
        assert np.abs(np.diff(fastest)).max() < 0.75 * fastest.max(), "no jump from rest to full speed"


def test_the_plots_come_in_their_shares(worlds: SyntheticWorlds) -> None:
    plots = [worlds.world(index).plot for index in range(200)]
    share = {plot: plots.count(plot) / 200 for plot in (STILL, DRAG, CAMERA, MIXED)}
    assert 0.04 < share[STILL] < 0.17
    assert 0.16 < share[DRAG] < 0.34
    assert share[CAMERA] + share[MIXED] > 0.5


def test_the_ground_stays_within_the_fastest_pace(worlds: SyntheticWorlds) -> None:
    """Panning alone; zoom and roll add at the frame's edge."""
    limit = FASTEST * worlds.size[0] / SPEED_WIDTH
    for index in range(40):
        camera = worlds.world(index).layers[0].placement
        middle = camera.forward(torch.zeros(1, 2, dtype=torch.float64))[:, 0]
        assert middle.diff(dim=0).norm(dim=-1).max() < 2 * limit


def test_same_seed_and_index_same_clip_in_any_order(library: AssetLibrary) -> None:
    make = lambda seed: SyntheticWorlds(library, size=(160, 96), frames=5, seed=seed, points=64)  # noqa: E731
    first = [make(3).sample(index) for index in (4, 9)]
    again = make(3)
    second = [again.sample(index) for index in (9, 4)][::-1]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.video, b.video)
        np.testing.assert_array_equal(a.tracks.xy, b.tracks.xy)
        np.testing.assert_array_equal(a.tracks.visible, b.tracks.visible)
        np.testing.assert_array_equal(a.object_of, b.object_of)
        assert (a.caption, a.effect) == (b.caption, b.effect)
    assert not np.array_equal(first[0].video, make(4).sample(4).video)
    assert not np.array_equal(first[0].video, first[1].video)


def test_a_batch_is_its_clips(library: AssetLibrary) -> None:
    worlds = SyntheticWorlds(library, size=(64, 48), frames=5, points=32)
    batch = worlds.batch([2, 0])
    for row, index in enumerate((2, 0)):
        clip = worlds.sample(index)
        np.testing.assert_array_equal(batch["video"][row].permute(0, 2, 3, 1).numpy(), clip.video)
        np.testing.assert_array_equal(batch["xy"][row].numpy(), clip.tracks.xy)
        np.testing.assert_array_equal(batch["visible"][row].numpy(), clip.tracks.visible)
        np.testing.assert_array_equal(batch["object_of"][row].numpy(), clip.object_of)
        assert batch["captions"][row] == clip.caption


def test_varied_worlds_have_what_others_lack_and_true_tracks(library: AssetLibrary) -> None:
    plain, varied = (SyntheticWorlds(library, size=(160, 96), frames=17, variety=share) for share in (0.0, 1.0))
    worlds = [varied.world(index) for index in range(40)]
    things = [layer for world in worlds for layer in world.layers[1:] if layer.solid]
    assert all(layer.light is None and layer.placement.tilt is None for layer in plain.world(3).layers)
    for has in (
        [layer.placement.tilt is not None for layer in things],
        [any(layer.placement.joints) for layer in things],
        [world.shutter > 0 for world in worlds],
    ):
        assert 0.05 < np.mean(has) < 0.6
    steps = [np.abs(np.diff(plans.matrix[..., 2].numpy(), axis=0)).max() for plans in (one.placement for one in things)]
    assert max(steps) > FASTEST * 160 / SPEED_WIDTH, "some are shaken"
    true, still = [], []
    for index in [number for number, world in enumerate(worlds) if not world.shutter][:12]:
        clip = varied.sample(index)
        seen, moving = change(clip, clip.tracks.xy)
        true.append(seen[moving])
        still.append(change(clip, np.repeat(clip.tracks.xy[:1], len(clip.video), 0))[0][moving])
    assert np.concatenate(still).mean() > 2.5 * np.concatenate(true).mean()


def test_without_variety_worlds_are_as_they_were(library: AssetLibrary) -> None:
    plain, half = (SyntheticWorlds(library, size=(160, 96), frames=5, variety=share) for share in (0.0, 0.5))
    same = [np.array_equal(plain.sample(index).video, half.sample(index).video) for index in range(20)]
    assert 4 <= sum(same) <= 18


def ground_speed(world: World) -> float:
    """Pixels a frame."""
    return float(world.layers[0].placement.matrix[..., 2].diff(dim=0).norm(dim=-1).mean())


def test_an_open_shutter_blurs_what_moves_and_nothing_else(library: AssetLibrary) -> None:
    worlds = SyntheticWorlds(library, size=(160, 96), frames=9, effects=False)
    made = [worlds.world(index) for index in range(60)]
    still, moving = (max((w for w in made if w.plot == plot), key=ground_speed) for plot in (STILL, CAMERA))
    assert ground_speed(moving) > 1.5
    cpu = torch.device("cpu")
    for world, blurs in ((still, False), (moving, True)):
        sharp, soft = (draw(world.layers, world.size, cpu, shutter=shutter) for shutter in (0.0, 0.8))
        detail = [video.diff(dim=-1).abs().mean() for video in (sharp, soft)]
        assert (detail[1] < 0.97 * detail[0]) == blurs
        assert torch.allclose(sharp, soft, atol=1e-5) != blurs


def test_drawing_by_window_is_drawing_whole_frames(made: list[World]) -> None:
    """The CPU's way against the GPU's."""
    for world in made[:8]:
        cpu = torch.device("cpu")
        windows, whole = (draw(world.layers, world.size, cpu, crop=crop) for crop in (True, False))
        assert (windows - whole).abs().max() < 2e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_clips(library: AssetLibrary) -> None:
    cpu, gpu = (SyntheticWorlds(library, size=(160, 96), frames=5, device=name) for name in ("cpu", "cuda"))
    for index in range(8):
        difference = np.abs(cpu.sample(index).video.astype(int) - gpu.sample(index).video)
        assert (difference > 2).mean() < 1e-3


@pytest.mark.parametrize("size", [(160, 96), (256, 144), (144, 256)])
@pytest.mark.parametrize("frames", [1, 5, 33])
def test_sizes_and_lengths(library: AssetLibrary, size: tuple[int, int], frames: int) -> None:
    clip = SyntheticWorlds(library, size=size, frames=frames, points=40).sample(1)
    assert clip.video.shape == (frames, size[1], size[0], 3)
    assert clip.tracks.xy.shape == (frames, 40, 2)


def test_a_length_that_no_latents_fit_is_refused(library: AssetLibrary) -> None:
    with pytest.raises(ValueError, match="24 frames"):
        SyntheticWorlds(library, frames=24)
    with pytest.raises(ValueError, match="multiples of 16"):
        SyntheticWorlds(library, size=(250, 144))
    with pytest.raises(ValueError, match="at least 16"):
        SyntheticWorlds(library, points=3)


def test_held_out_worlds_are_other_worlds() -> None:
    train, held = (SyntheticWorlds(AssetLibrary(ASSETS, split), (64, 48), 1) for split in ("train", "heldout"))
    assert not np.array_equal(train.sample(0).video, held.sample(0).video)


def test_motion_does_not_depend_on_what_is_shown() -> None:
    """The same draw of still or moving plots for both splits: nothing about a picture decides how it moves."""
    plots = [
        [SyntheticWorlds(AssetLibrary(ASSETS, split), (64, 48), 1).world(index).plot for index in range(20)]
        for split in ("train", "heldout")
    ]
    assert plots[0] == plots[1]


@pytest.mark.parametrize(("share", "expected"), [(True, 0.5), (0.0, 0.0), (0.9, 0.9), (1.0, 1.0)])
def test_the_share_of_clips_with_an_effect_is_as_asked(library: AssetLibrary, share: float, expected: float) -> None:
    worlds = SyntheticWorlds(library, size=(64, 48), frames=1, effects=share)
    drawn = [worlds.world(index).effect != effects.NONE for index in range(120)]
    assert np.mean(drawn) == pytest.approx(expected, abs=0.12 if 0 < expected < 1 else 0)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_from_0_to_1(library: AssetLibrary, share: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        SyntheticWorlds(library, size=(64, 48), frames=1, effects=share)


def test_a_world_can_be_seen_under_any_effect(library: AssetLibrary) -> None:
    """Drawn once; its own effect is as it would be alone, and without one it is the plain scene."""
    world = SyntheticWorlds(library, size=(64, 48), frames=9, effects=1.0).world(3)
    plain, own, plain_again = world.under_effects([effects.NONE, world.effect, effects.NONE])
    assert torch.equal(own, world.render())
    assert torch.equal(plain, plain_again)
    assert not torch.equal(plain, own)


def test_effects_can_be_switched_off(library: AssetLibrary) -> None:
    plain = SyntheticWorlds(library, size=(64, 48), frames=1, effects=False)
    assert {plain.world(index).effect for index in range(20)} == {effects.NONE}
