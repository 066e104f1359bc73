"""Is it control, or luck? The same picture and prompt with other tracks than the true ones.

A model may score well on true tracks because it guesses what a picture will do. So every clip is played again with
its movement mirrored, turned by a right angle, delayed, taken from another clip, or stopped, and what the video did
is held against the tracks given and against the true ones, which were not given. A model that follows is near the
first and far from the second; one that ignores its tracks is as far from both.

Three controls: dense (all points of frame 0), object (a grid on the object that moves most), hand (a small rigid
grid on that object, as a drag makes it).

There is no true video of a movement that did not happen, so the tracker is tried out on the first frame warped by the
tracks given: only those places count where it is within 1.5 px of them there. What the warp cannot show (things that
cross, ground that is uncovered) is thereby left out, and the warp's own error is small by that choice: it shows what
the tracker can see, and is no rival of the model here. That choice favours a model that is itself built on such a warp
(`conditioning/warped_anchor.py`): it fails where the warp fails, and that is not counted. So every figure stands beside
the same over all visible places (`…_all`), where the tracker's own failures count against the model. The truth is
between the two; where they are far apart, `counted_share` is small and the headline says little.

Legend: F frames, N points given, M other points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from motionstream.evaluate import machine
from motionstream.evaluate.baselines import Generate, still, warp
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.metrics import Floats, Mask, Video, after_birth, distance, moving, turned
from motionstream.evaluate.motion import EvaluationClip, Example, ratio
from motionstream.evaluate.tally import Tally
from motionstream.stream.offline import Steps, play
from motionstream.tracks import Tracks
from motionstream.tracks.lucas_kanade import track

CONTROLS = ("dense", "object", "hand")
TRUE, DELAYED, SWAPPED, STOPPED = "true", "delayed", "swapped", "still"
AS_FAST = ("mirrored", "turned")
"""Variants over which the headline ratio is taken: they move every point as far as the true tracks do, so a picture
that stands still is exactly as far from given as from not given. Delayed and swapped tracks have no such balance."""
VARIANTS = (TRUE, "mirrored", "turned", DELAYED, SWAPPED, STOPPED)
WITHIN = 1.5  # pixels that the tracker may be off on the warped first frame
APART = 4.0  # pixels that a point moves, and that given and not given differ by, where it counts
RESTS = 1.0  # pixels that a point of the true clip moves at most, to be one that should stay
OUTSIDE = 24.0  # pixels from every point given, from which on a movement is leakage
ON_OBJECT, LEAST_ON_OBJECT = 25, 4
HAND_SPACING = 8.0
PINNED = 12.0, 48.0  # pixels from the points given within which points are pinned
MOST_PINNED = 25

Places = npt.NDArray[np.float32]
ClipAt = Callable[[int], EvaluationClip]


@dataclass(frozen=True)
class Task:
    """What is controlled in one clip.

    first: (H, W, 3). true: tracks of N points, all visible in frame 0. resting: (M, 2) places in frame 0 of points
    that are not controlled and rest in the true clip.
    """

    first: Video
    caption: str
    true: Tracks
    resting: Places

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) in pixels."""
        return self.first.shape[1], self.first.shape[0]


def evaluate_counterfactual(
    generate: Generate,
    clip_at: ClipAt,
    count: int,
    control: str = "object",
    seed: int = 0,
    let_go: Generate | None = None,
    journal: Journal | None = None,
    over: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers,
) -> dict[str, Any]:
    """Measure a generator on the clips 0 … count − 1, JSON-ready.

    clip_at: the clip of a number, the same whenever it is asked for. let_go: the generator for tracks that are
    released, where it has a way of its own to say so (`letting_go`). over: wraps the numbers, for a progress bar.
    Raises ValueError on an unknown control, a video of another shape than asked for, or when no clip can be used.
    """
    checked_control(control)
    journal = journal or Journal(None, {})
    tally, used, shape = Tally(), 0, (0, 0, 0)
    for number in over(range(count)):
        measure = _Measure(generate, let_go or generate, clip_at, number, count, control, seed)
        figures = journal.measured(f"clip {number}", measure.clip)
        if figures is not None:
            used, shape = used + 1, figures["shape"]
            tally.take(figures["means"])
    if not used:
        raise ValueError(f"none of {count} clips has an object that moves: use more clips, or the control dense")
    return {
        "clips": used,
        "clips_without_moved_object": count - used,
        "frames": shape[0],
        "size": f"{shape[2]}x{shape[1]}",
        "seed": seed,
        "control": control,
        "tracker": _tracker(tally),
        "scores": {name: _report(tally, name, control) for name in ("model", "warp", "still")},
        "machine": machine.describe(),
        "date": machine.today(),
    }


def checked_control(control: str) -> str:
    """A control that there is. Raises ValueError that names them otherwise."""
    if control not in CONTROLS:
        raise ValueError(f"control {control!r}: use {', '.join(CONTROLS)}")
    return control


def examples(
    generate: Generate, clip_at: ClipAt, count: int, control: str = "object", seed: int = 0, most: int = 2
) -> list[Example]:
    """Every variant of the first clips that can be used, with the tracks given, for `sheets.draw`."""
    shown: list[Example] = []
    for number in range(count):
        task = controlled(clip_at(number), control, np.random.default_rng([seed, number]))
        if task is None:
            continue
        for name, given in variants(task, _donor(clip_at, number, count, control, seed)).items():
            videos = {"model": _made(generate, task, given, seed), "warp": warp(task.first, given)}
            shown.append(Example(videos, given, f"{name}: {task.caption}"))
        most -= 1
        if most == 0:
            break
    return shown


def letting_go(model: Any) -> Generate:
    """A generator from a model of the public contract that lets go as a hand does.

    Points that are not visible any more are held to the end of the chunk and are then no longer in the tracks.
    """

    def generate(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
        stream = _LettingGo(model.open(first, prompt=caption, seed=seed), tracks)
        return np.concatenate(list(play(stream, tracks, tracks.frames)))

    return generate


class _LettingGo:
    """A stream that is given only the points that are still visible, in this chunk or later."""

    def __init__(self, stream: Steps, tracks: Tracks) -> None:
        self.stream, self.done = stream, 0
        self.last = tracks.frames - 1 - tracks.visible[::-1].argmax(0)

    @property
    def chunk_frames(self) -> int:
        return self.stream.chunk_frames

    def step(self, tracks: Tracks | None) -> Video:
        begin, self.done = self.done, self.done + self.chunk_frames
        if tracks is None:
            return self.stream.step(None)
        last = np.clip(self.last - begin, 0, tracks.frames - 1)
        after = np.arange(tracks.frames)[:, None] > last
        xy = np.where(after[..., None], tracks.xy[last, np.arange(tracks.points)], tracks.xy)
        return self.stream.step(Tracks(xy, tracks.visible | after, tracks.ids).select(self.last >= begin))


def controlled(clip: EvaluationClip, control: str, rng: np.random.Generator) -> Task | None:
    """What is controlled in a clip, or None where it has no object that moves and the control needs one."""
    tracks = clip.tracks
    at_start = np.flatnonzero(tracks.visible[0])
    first = clip.video[0]
    if control == "dense":
        return Task(first, clip.caption, tracks.select(at_start), np.zeros((0, 2), np.float32))
    travelled = np.linalg.norm(tracks.xy - tracks.xy[:1], axis=-1).max(0)
    own = _moved_object(clip, travelled)
    if own is None:
        return None
    rests = at_start[(travelled[at_start] <= RESTS) & (clip.object_of[at_start] != clip.object_of[own[0]])]
    if control == "hand":
        true = _hand(tracks, own, (first.shape[1], first.shape[0]))
    else:
        true = tracks.select(np.sort(rng.permutation(own)[:ON_OBJECT]))
    return Task(first, clip.caption, true, tracks.xy[0, rests])


def _moved_object(clip: EvaluationClip, travelled: npt.NDArray[np.floating]) -> npt.NDArray[np.int64] | None:
    """Points in frame 0 of the object that moves most, if one does."""
    best, farthest = None, APART
    for number in np.unique(clip.object_of[clip.object_of > 0]):
        own = np.flatnonzero((clip.object_of == number) & clip.tracks.visible[0])
        if len(own) >= LEAST_ON_OBJECT and np.median(travelled[own]) > farthest:
            best, farthest = own, float(np.median(travelled[own]))
    return best


def _hand(tracks: Tracks, own: npt.NDArray[np.int64], size: tuple[int, int]) -> Tracks:
    """A rigid 3×3 grid around the object's middle point, moved as that point moves."""
    home = tracks.xy[0, own]
    lead = own[np.linalg.norm(home - np.median(home, 0), axis=-1).argmin()]
    steps = (np.arange(3) - 1) * HAND_SPACING
    offsets = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2).astype(np.float32)
    xy = tracks.xy[:, lead, None] + offsets
    inside = _inside(xy, size)
    return Tracks(xy, tracks.visible[:, lead, None] & inside).select(inside[0])


def variants(task: Task, donor: Tracks | None) -> dict[str, Tracks]:
    """The tracks given, by name: the true ones and those that did not happen. Without a donor, none are swapped.

    Points keep their visibility, and are invisible outside the frame.
    """
    true, size = task.true, task.size
    away = true.xy - true.xy[:1]
    late = np.maximum(np.arange(true.frames) - true.frames // 4, 0)
    given = {
        TRUE: true,
        "mirrored": _displaced(true, away * np.array([-1, 1]), size),
        "turned": _displaced(true, turned(true).xy - true.xy[:1], size),
        DELAYED: _displaced(true, away[late], size),
        STOPPED: Tracks(np.repeat(true.xy[:1], true.frames, 0), np.ones_like(true.visible), true.ids),
    }
    if donor is not None:
        given[SWAPPED] = _displaced(true, borrowed(true, donor), size)
    return given


def borrowed(true: Tracks, donor: Tracks) -> npt.NDArray[np.float32]:
    """(F, N, 2) displacement of each point as of the nearest of the donor's, both sets laid centre on centre."""
    home, other = (one.xy[0] - one.xy[0].mean(0) for one in (true, donor))
    nearest = np.linalg.norm(home[:, None] - other[None], axis=-1).argmin(1)
    return (donor.xy - donor.xy[:1])[:, nearest]


def _displaced(true: Tracks, away: npt.NDArray[np.floating], size: tuple[int, int]) -> Tracks:
    xy = (true.xy[:1] + away).astype(np.float32)
    return Tracks(xy, true.visible & _inside(xy, size), true.ids)


def _inside(xy: npt.NDArray[np.floating], size: tuple[int, int]) -> Mask:
    return np.asarray(((xy >= 0) & (xy < np.array(size))).all(-1))


def _donor(clip_at: ClipAt, number: int, count: int, control: str, seed: int) -> Tracks | None:
    """The true tracks of the next clip that can be used and is as long."""
    frames = clip_at(number).tracks.frames
    for other in (n % count for n in range(number + 1, number + count)):
        task = controlled(clip_at(other), control, np.random.default_rng([seed, other]))
        if task is not None and task.true.frames == frames:
            return task.true
    return None


def occluded(true: Tracks) -> tuple[Tracks, slice]:
    """All points hidden in the middle third, and those frames."""
    gap = slice(true.frames // 3, 2 * true.frames // 3)
    visible = true.visible.copy()
    visible[gap] = False
    return replace(true, visible=visible), gap


def released(true: Tracks) -> tuple[Tracks, int]:
    """All points let go in the middle, and the last frame in which they are held."""
    last = true.frames // 2 - 1
    visible = true.visible.copy()
    visible[last + 1 :] = False
    return replace(true, visible=visible), last


def pinned(task: Task) -> Tracks | None:
    """The true tracks, then pins on up to 25 resting points beside them; None where nothing rests there."""
    apart = nearest(task.resting, task.true)
    beside = task.resting[(apart >= PINNED[0]) & (apart <= PINNED[1])]
    pins = beside[np.linspace(0, len(beside) - 1, min(MOST_PINNED, len(beside))).round().astype(int)]
    if len(pins) == 0:
        return None
    held = np.repeat(pins[None], task.true.frames, 0)
    xy = np.concatenate([task.true.xy, held], 1)
    return Tracks(xy, np.concatenate([task.true.visible, np.ones(held.shape[:2], bool)], 1))


def nearest(places: Places, tracks: Tracks) -> Floats:
    """(M,) how near, in pixels, any visible point ever comes to each of the places (M, 2)."""
    points = tracks.xy[tracks.visible].astype(np.float64)
    if len(points) == 0:
        return np.full(len(places), np.inf)
    return np.array([np.linalg.norm(points - place, axis=-1).min() for place in places.astype(np.float64)])


def followable(first: Video, places: Places) -> Mask:
    """(M,) where the tracker is within 1.5 px as the whole picture slides by; not so where it shows too little."""
    frames, step = 5, 2
    height, width = first.shape[:2]
    wide = np.pad(first, ((0, 0), (step * frames, 0), (0, 0)), "edge")
    sliding = np.stack([wide[:, step * (frames - n) :][:, :width] for n in range(frames)])
    assert sliding.shape[1:3] == (height, width)
    slide = np.arange(frames)[:, None, None] * np.array([step, 0])
    miss = np.linalg.norm(track(sliding, places).xy - places - slide, axis=-1)
    return np.asarray(miss.max(0) <= WITHIN)


def same_place(one: Video, other: Video, places: Places) -> Mask:
    """(N,) whether two frames (H, W, 3) show the same thing at a place, to 4 px. What jumps cannot be followed."""
    if len(places) == 0:
        return np.zeros(0, bool)
    found = track(np.stack([one, other]), places)
    return np.asarray(found.visible[1] & (np.linalg.norm(found.xy[1] - places, axis=-1) <= APART))


def _found(videos: dict[str, Video], queries: Places) -> dict[str, Tracks]:
    """Points (K, 2) of frame 0, found in the videos of every generator."""
    rest = np.repeat(queries[None], len(videos["still"]), 0)
    return {
        "model": track(videos["model"], queries),
        "warp": track(videos["warp"], queries),
        "still": Tracks(rest, np.ones(rest.shape[:2], bool)),  # there is nothing to find
    }


@dataclass(frozen=True)
class _Whole:
    """Every generator's video of one variant; the points given and then the steady places, found in it; and trusted
    (F, N): where they count."""

    videos: dict[str, Video]
    found: dict[str, Tracks]
    trusted: Mask

    @classmethod
    def of(cls, videos: dict[str, Video], given: Tracks, steady: Places) -> _Whole:
        found = _found(videos, np.concatenate([given.xy[0], steady]))
        on_warp = found["warp"].select(np.arange(given.points))
        return cls(videos, found, after_birth(given) & (distance(given, on_warp) <= WITHIN))


@dataclass(frozen=True)
class _Measure:
    """All figures of one clip."""

    generate: Generate
    let_go: Generate
    clip_at: ClipAt
    number: int
    count: int
    control: str
    seed: int

    def clip(self) -> dict[str, Any] | None:
        """JSON-ready; None where the clip has no object that moves."""
        clip = self.clip_at(self.number)
        task = controlled(clip, self.control, np.random.default_rng([self.seed, self.number]))
        if task is None:
            return None
        tally = Tally()
        donor = _donor(self.clip_at, self.number, self.count, self.control, self.seed)
        steady = task.resting[followable(task.first, task.resting)] if len(task.resting) else task.resting
        for name, given in variants(task, donor).items():
            whole = _Whole.of(self._videos(self.generate, task, given), given, steady)
            self._variant(tally, name, task, given, steady, whole)
            if name == TRUE:
                self._occluded(tally, task, whole)
                self._released(tally, task, whole.trusted)
                self._pinned(tally, task, whole, steady)
        return {"shape": list(clip.video.shape[:3]), "means": tally.written()}

    def _videos(self, generate: Generate, task: Task, given: Tracks) -> dict[str, Video]:
        """What every generator makes of these tracks."""
        return {
            "model": _made(generate, task, given, self.seed),
            "warp": warp(task.first, given),
            "still": still(task.first, given),
        }

    def _variant(
        self,
        tally: Tally,
        variant: str,
        task: Task,
        given: Tracks,
        steady: Places,
        whole: _Whole,
    ) -> None:
        other = turned(task.true) if variant == TRUE else task.true
        moves = moving(task.true if variant == STOPPED else given, APART)
        shown = after_birth(given)
        wanted = shown & moves & (distance(given, other) >= APART)
        counted = wanted & whole.trusted
        travel = np.linalg.norm(given.xy - given.xy[:1], axis=-1)[shown]
        outside = nearest(steady, given) >= OUTSIDE
        tally.add(f"tracker.{variant}", whole.trusted[shown])
        tally.add(f"{variant}.travel", travel)
        for name, everything in whole.found.items():
            points = everything.select(np.arange(given.points))
            tally.add(f"{name}.{variant}.given", distance(given, points)[counted])
            tally.add(f"{name}.{variant}.not_given", distance(other, points)[counted])
            tally.add(f"{name}.{variant}.given_all", distance(given, points)[wanted])
            tally.add(f"{name}.{variant}.not_given_all", distance(other, points)[wanted])
            leaked = np.linalg.norm(everything.xy[1:, given.points :] - steady, axis=-1)[:, outside]
            tally.add(f"{name}.{variant}.leaked", leaked)

    def _occluded(self, tally: Tally, task: Task, whole: _Whole) -> None:
        """Is what should be there there, by comparison with the same frames of the clip without a gap?"""
        given, gap = occluded(task.true)
        moves = whole.trusted & moving(task.true, APART)
        for name, video in self._videos(self.generate, task, given).items():
            there = distance(task.true, whole.found[name].select(np.arange(given.points))) <= APART
            for when, frames in (("hidden", range(gap.start, gap.stop)), ("back", range(gap.stop, given.frames))):
                for frame in frames:
                    counted = np.flatnonzero(moves[frame])
                    places = given.xy[frame, counted]
                    again = same_place(whole.videos[name][frame], video[frame], places)
                    tally.add(f"{name}.occluded.{when}", again & there[frame, counted])

    def _released(self, tally: Tally, task: Task, trusted: Mask) -> None:
        """Is what was moved still where it was left, or back where it came from?"""
        given, last = released(task.true)
        moved = np.flatnonzero(trusted[last] & moving(task.true, APART)[last])
        left, home = given.xy[last, moved], given.xy[0, moved]
        for name, video in self._videos(self.let_go, task, given).items():
            held = np.linalg.norm(track(video[: last + 1], home).xy[last] - left, axis=-1) <= APART
            for frame in range(last + 1, given.frames):
                tally.add(f"{name}.released.stayed", held & same_place(video[last], video[frame], left))
                tally.add(f"{name}.released.home", same_place(video[0], video[frame], home))

    def _pinned(self, tally: Tally, task: Task, free: _Whole, steady: Places) -> None:
        given = pinned(replace(task, resting=steady))
        if given is None:
            return
        own = np.arange(task.true.points)
        pins = np.arange(len(own), given.points)
        which = [int(np.linalg.norm(steady - place, axis=-1).argmin()) for place in given.xy[0, pins]]
        unpinned = len(own) + np.array(which)
        found = _found(self._videos(self.generate, task, given), given.xy[0])
        close = distance(task.true, found["warp"].select(own)) <= WITHIN
        counted = after_birth(task.true) & close & moving(task.true, APART)
        for name, points in found.items():
            tally.add(f"{name}.pinned.pins", distance(given, points)[1:, pins])
            unheld = free.found[name].xy[:, unpinned]
            tally.add(f"{name}.pinned.free", np.linalg.norm(unheld[1:] - unheld[:1], axis=-1))
            tally.add(f"{name}.pinned.dragged", distance(task.true, points.select(own))[counted])


def _made(generate: Generate, task: Task, given: Tracks, seed: int) -> Video:
    video = generate(task.first, given, task.caption, seed)
    shape = (given.frames, *task.first.shape)
    if video.shape != shape or video.dtype != np.uint8:
        raise ValueError(f"generated {video.dtype} of shape {video.shape}: send uint8 of shape {shape}")
    return video


def _tracker(tally: Tally) -> dict[str, Any]:
    """How much of the tracks given could be counted on, over all variants and each."""
    kept = tally.pooled(*(f"tracker.{variant}" for variant in VARIANTS))
    return {
        "within_px": WITHIN,
        "kept": int(kept.total),
        "kept_share": kept.value,
        "kept_share_by_variant": {variant: tally.value(f"tracker.{variant}") for variant in VARIANTS},
    }


def _report(tally: Tally, name: str, control: str) -> dict[str, Any]:
    """One generator: the headline over mirrored and turned, then every variant, and sensitivity."""
    return {
        **_against(tally, name, AS_FAST),
        "variants": {
            variant: {**_against(tally, name, (variant,)), **_leakage(tally, name, (variant,))} for variant in VARIANTS
        },
        **({} if control == "dense" else {"leakage": _leakage(tally, name, (TRUE, *AS_FAST, DELAYED, SWAPPED))}),
        "sensitivity": {
            "occluded": {
                "in_place_while_hidden_share": tally.value(f"{name}.occluded.hidden"),
                "in_place_when_back_share": tally.value(f"{name}.occluded.back"),
            },
            "released": {
                "stayed_where_left_share": tally.value(f"{name}.released.stayed"),
                "went_home_share": tally.value(f"{name}.released.home"),
            },
            "pinned": {
                "pins_moved_px": tally.value(f"{name}.pinned.pins"),
                "same_unpinned_moved_px": tally.value(f"{name}.pinned.free"),
                "dragged_epe_px": tally.value(f"{name}.pinned.dragged"),
            },
        },
    }


def _against(tally: Tally, name: str, some: tuple[str, ...]) -> dict[str, Any]:
    """Where the tracker can be trusted, then everywhere."""
    figures: dict[str, Any] = {}
    counts: list[int] = []
    for places in ("", "_all"):
        given = tally.pooled(*(f"{name}.{variant}.given{places}" for variant in some))
        other = tally.pooled(*(f"{name}.{variant}.not_given{places}" for variant in some))
        figures |= {f"epe_given{places}_px": given.value, f"epe_not_given{places}_px": other.value}
        if some != (STOPPED,):  # to stand still when told so is no feat: no ratio
            figures[f"not_given_over_given{places}"] = ratio(other.value, given.value)
        counts.append(given.count)
    return {**figures, "counted": counts[0], "counted_share": ratio(*counts)}


def _leakage(tally: Tally, name: str, some: tuple[str, ...]) -> dict[str, Any]:
    leaked = tally.pooled(*(f"{name}.{variant}.leaked" for variant in some))
    travel = tally.pooled(*(f"{variant}.travel" for variant in some))
    return {"leakage_px": leaked.value, "leakage_share": ratio(leaked.value, travel.value)}
