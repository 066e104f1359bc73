"""Does the prompt do what it says, and does the motion survive it?

Weather, light and film looks are what only the prompt can tell (`data/effects.py`). A model is given a clean first
frame, the tracks, and the caption with each effect named in it, or with none; a probe fitted on true clips of other
pictures (`evaluate/probe.py`) says what its video shows. Every world is played under every prompt, so a model that
does not read them is recognised in exactly one of them: chance.

The motion is measured on the same tracks with and without the effect, where the tracker can be trusted on the true
clip of either kind. What a tracker makes of flakes or of dusk is not the model's doing, so the error also stands beside
that on the model's own frames without the effect, under the true one: what a perfect look would show. It is drawn anew
for that, several times, as a model's flakes are not those of the true clip either, and what is trusted was chosen by
how little those disturb. Trust leaves out much of what moves fast or turns: the shares kept stand beside the figures,
and moving points (4 px from home) have figures of their own, for resting ground says little of motion. A few points
that the tracker loses in one world may be a tenth of a mean: what an effect costs stands with its interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from motionstream.data.captions import with_effect
from motionstream.data.effects import BY_NAME, NONE
from motionstream.data.synthetic import SyntheticWorlds, World
from motionstream.evaluate import bootstrap, machine
from motionstream.evaluate.baselines import Generate, warp
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.metrics import (
    Mask,
    Video,
    after_birth,
    births,
    distance,
    measurable,
    moving,
    unit_frames,
)
from motionstream.evaluate.motion import ratio
from motionstream.evaluate.probe import FEWEST_FRAMES, Features, Probe, features
from motionstream.evaluate.tally import Tally
from motionstream.stream.offline import play
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks
from motionstream.vae.pixels import to_frames

CLASSES = (NONE, *BY_NAME)
SHOWN = 3  # frames of each clip on a sheet
DRAWS = 3  # of the true effect, laid over a model's frames

Change = Callable[[Video, Tracks, tuple[str, str], int, int], tuple[Video, int]]
"""(first frame, tracks, prompts before and after, frame from which the second is wanted, seed) → the video, and the
frame from which the second prompt was in force."""
Over = Callable[[Iterable[int]], Iterable[int]]
Means = Mapping[str, Sequence[float]]
"""Of one world, as a tally has `written` them: name → total, count."""


def evaluate_text(
    generate: Generate,
    change: Change | None,
    training: SyntheticWorlds,
    heldout: SyntheticWorlds,
    probe_worlds: int,
    count: int,
    seed: int = 0,
    journal: Journal | None = None,
    over: Over = lambda numbers: numbers,
) -> dict[str, Any]:
    """Measure a generator on `count` held-out worlds with a probe fitted on `probe_worlds` others, JSON-ready.

    change: the generator whose prompt changes in the middle, or None. over: wraps the numbers of all worlds, for a
    progress bar. Raises ValueError when the worlds draw effects of their own, or on a video of another shape.
    """
    if training.effects or heldout.effects:
        raise ValueError("worlds with effects of their own: make them with effects=False")
    journal = journal or Journal(None, {})
    fitted: list[dict[str, Features]] = []
    measured: list[dict[str, Any]] = []
    means: list[Means] = []
    for number in over(range(probe_worlds + count)):
        if number < probe_worlds:
            fitted.append(journal.measured(f"probe {number}", partial(_true_features, training, number, seed)))
            continue
        measure = _Measure(generate, change, heldout, number - probe_worlds, seed)
        figures = journal.measured(f"world {measure.number}", measure.world)
        measured.append(figures["features"])
        means.append(figures["means"])
    probe = Probe.fit([clips[name] for clips in fitted for name in CLASSES], list(CLASSES) * len(fitted))
    return {
        "worlds": count,
        "probe_worlds": probe_worlds,
        "frames": heldout.frames,
        "size": f"{heldout.size[0]}x{heldout.size[1]}",
        "seed": seed,
        "chance": 1 / len(CLASSES),
        "probe": _recognised(probe, measured, "true"),
        "scores": {name: _report(probe, measured, means, name) for name in ("model", "warp")},
        "machine": machine.describe(),
        "date": machine.today(),
    }


def by_changing(model: Any) -> Change:
    """A generator whose prompt changes, from a model of the public contract."""

    def generate(first: Video, tracks: Tracks, prompts: tuple[str, str], wanted: int, seed: int) -> tuple[Video, int]:
        stream = model.open(first, prompt=prompts[0], seed=seed)
        frames: list[Video] = []
        done, changed = 0, tracks.frames
        for chunk in play(stream, tracks, tracks.frames):
            frames.append(chunk)
            done += len(chunk)
            if wanted <= done < changed:
                stream.prompt, changed = prompts[1], done
        return np.concatenate(frames), changed

    return generate


def ramp(frames: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(F,) strength of an effect: none in frame 0, whole before the middle."""
    begin, length = rng.uniform(0, frames / 8), rng.uniform(frames / 8, frames / 3)
    rising = np.clip((np.arange(frames) - begin) / length, 0, 1)
    return np.asarray(rising * rising * (3 - 2 * rising), np.float32)


def shown(worlds: SyntheticWorlds, generate: Generate, number: int = 0, seed: int = 0) -> dict[str, Video]:
    """A row for each effect, for `sheets.strips`: frames of the true clip, then of the generator's."""
    measure = _Measure(generate, None, worlds, number, seed)
    world, tracks = measure.drawn()
    columns = np.linspace(0, worlds.frames - 1, SHOWN).round().astype(int)
    rows: dict[str, Video] = {}
    for name in CLASSES:
        true, caption = _true(world, name, number, seed), measure.caption(world, name)
        made = generate(true[0], tracks, caption, seed)
        rows[f"{name}: true | model, {caption}"] = np.concatenate([true[columns], made[columns]])
    return rows


def _under(world: World, effect: str, number: int, seed: int) -> World:
    """The world with this effect in place of its own."""
    frames = world.layers[0].placement.frames
    strength = ramp(frames, np.random.default_rng([seed, number, CLASSES.index(effect)]))
    return replace(world, effect=effect, strength=strength)


def _anew(world: World, effect: str, number: int, seed: int) -> Iterator[World]:
    """The same under other draws of the effect: other flakes, another thickness, coming as fast as they may."""
    frames = world.layers[0].placement.frames
    for one in range(1, DRAWS + 1):
        rng = np.random.default_rng([seed, number, CLASSES.index(effect), one])
        yield replace(world, effect=effect, strength=ramp(frames, rng), effect_seed=int(rng.integers(1 << 31)))


def _true(world: World, effect: str, number: int, seed: int) -> Video:
    """The world with this effect, (F, H, W, 3)."""
    rendered = _under(world, effect, number, seed).render()
    video: Video = rendered.permute(0, 2, 3, 1).contiguous().numpy()
    return video


def _laid_over(video: Video, world: World) -> Video:
    """Any frames (F, H, W, 3) of a world's length and size under that world's effect."""
    frames = world.with_effect(unit_frames(video))
    return to_frames(frames * 2 - 1)


def _true_features(worlds: SyntheticWorlds, number: int, seed: int) -> dict[str, dict[str, float]]:
    world = worlds.world(number)
    tracks, _ = worlds.tracks(world, number)
    return {name: features(_true(world, name, number, seed), tracks) for name in CLASSES}


@dataclass(frozen=True)
class _Measure:
    """All figures of one held-out world."""

    generate: Generate
    change: Change | None
    worlds: SyntheticWorlds
    number: int
    seed: int

    @property
    def own_seed(self) -> int:
        """Of this world's streams: each world has its own noise and specks, as each has its own true flakes."""
        return self.seed + self.number

    def drawn(self) -> tuple[World, Tracks]:
        """The world, and the tracks that are given: all points that are ever visible."""
        world = self.worlds.world(self.number)
        tracks, _ = self.worlds.tracks(world, self.number)
        return world, tracks.select(tracks.visible.any(0))

    def caption(self, world: World, effect: str) -> str:
        return with_effect(
            world.caption, effect, np.random.default_rng([self.seed, self.number, CLASSES.index(effect)])
        )

    def world(self) -> dict[str, Any]:
        """Features by source and class, and the distances of tracks; JSON-ready."""
        world, tracks = self.drawn()
        tally = Tally()
        found: dict[str, dict[str, dict[str, float]]] = {"true": {}, "model": {}, "warp": {}, "midstream": {}}
        plain = _true(world, NONE, self.number, self.seed)
        trusted = measurable(tracks, _retrack(plain, tracks))
        warped = warp(plain[0], tracks)
        without = self._made(plain, tracks, self.caption(world, NONE))
        none = _retrack(without, tracks)
        warped_features = features(warped, tracks)
        for name in CLASSES:
            true = plain if name == NONE else _true(world, name, self.number, self.seed)
            made = without if name == NONE else self._made(plain, tracks, self.caption(world, name))
            found["true"][name] = features(true, tracks)
            found["model"][name] = features(made, tracks)
            found["warp"][name] = warped_features
            self._midstream(found["midstream"], world, name, plain, tracks)
            counted = self._distances(tally, name, tracks, true, made, none, trusted)
            if name != NONE:
                for other in _anew(world, name, self.number, self.seed):
                    same = _retrack(_laid_over(without, other), tracks)
                    tally.add(f"model.{name}.epe_laid", distance(tracks, same)[counted])
        return {"features": found, "means": tally.written()}

    def _made(self, plain: Video, tracks: Tracks, caption: str) -> Video:
        made = self.generate(plain[0], tracks, caption, self.own_seed)
        if made.shape != plain.shape or made.dtype != np.uint8:
            raise ValueError(f"generated {made.dtype} of shape {made.shape}: send uint8 of shape {plain.shape}")
        return made

    def _midstream(
        self, found: dict[str, dict[str, float]], world: World, name: str, plain: Video, tracks: Tracks
    ) -> None:
        """The effect named only after a third of the clip: what changes from there on."""
        if self.change is None:
            return
        prompts = self.caption(world, NONE), self.caption(world, name)
        video, changed = self.change(plain[0], tracks, prompts, tracks.frames // 3, self.own_seed)
        begin = changed - 1
        if tracks.frames - begin < FEWEST_FRAMES:
            raise ValueError(f"the prompt could change only at frame {changed} of {tracks.frames}: ask for more frames")
        found[name] = features(video[begin:], tracks.slice(begin, tracks.frames))

    def _distances(
        self, tally: Tally, name: str, tracks: Tracks, true: Video, made: Video, none: Tracks, trusted: Mask
    ) -> Mask:
        """Returns where distances count under this effect."""
        in_true, in_made = _retrack(true, tracks), _retrack(made, tracks)
        counted = trusted & measurable(tracks, in_true)
        shown, moves = after_birth(tracks), moving(tracks)
        for kind, where in (("epe", counted), ("moving", counted & moves)):
            tally.add(f"model.{name}.{kind}", distance(tracks, in_made)[where])
            tally.add(f"model.{name}.{kind}_none", distance(tracks, none)[where])
        tally.add(f"tracker.{name}.epe", distance(tracks, in_true)[trusted])
        tally.add(f"tracker.{name}.kept", counted[shown])
        tally.add(f"tracker.{name}.kept_moving", counted[shown & moves])
        return counted


def _retrack(video: Video, given: Tracks) -> Tracks:
    born = births(given)
    return track(video, given.xy[born, np.arange(given.points)], born)


def _recognised(probe: Probe, measured: list[dict[str, Any]], source: str) -> dict[str, Any]:
    """Shares of clips whose class was found, and how often each class was taken for each."""
    confusion = {
        name: Counter(probe.names_of([world[source][name] for world in measured if name in world[source]]))
        for name in CLASSES
    }
    shares = {name: ratio(counts[name], counts.total()) for name, counts in confusion.items()}
    return {
        "recognised": _mean(shares),
        "recognised_effects": _mean({name: shares[name] for name in BY_NAME}),
        "recognised_by_class": shares,
        "confusion": {name: {other: counts[other] for other in CLASSES} for name, counts in confusion.items()},
    }


def _report(probe: Probe, measured: list[dict[str, Any]], means: Sequence[Means], name: str) -> dict[str, Any]:
    figures = _recognised(probe, measured, name)
    if name != "model":
        return figures
    midstream = _recognised(probe, measured, "midstream")
    tally = Tally.of(*means)
    changes = {one: _change(tally, one) for one in BY_NAME}
    beyond = {one: _change(tally, one, "epe", "epe_laid") for one in BY_NAME}
    return {
        **figures,
        "midstream_recognised": midstream["recognised"],
        "midstream_recognised_effects": midstream["recognised_effects"],
        "epe_none_px": tally.value(f"model.{NONE}.epe"),
        "epe_change_largest": _largest(changes),
        "epe_beyond_largest": _largest(beyond),
        "effects": {
            one: {
                "recognised": figures["recognised_by_class"][one],
                "midstream_recognised": midstream["recognised_by_class"][one],
                "epe_px": tally.value(f"model.{one}.epe"),
                "epe_none_px": tally.value(f"model.{one}.epe_none"),
                "epe_change": changes[one],
                "epe_laid_over_px": tally.value(f"model.{one}.epe_laid"),
                "epe_beyond": beyond[one],
                **_within(means, one),
                "epe_moving_px": tally.value(f"model.{one}.moving"),
                "epe_none_moving_px": tally.value(f"model.{one}.moving_none"),
                "epe_moving_change": _change(tally, one, "moving", "moving_none"),
                "tracker_epe_px": tally.value(f"tracker.{one}.epe"),
                "tracker_kept_share": tally.value(f"tracker.{one}.kept"),
                "tracker_kept_moving_share": tally.value(f"tracker.{one}.kept_moving"),
            }
            for one in BY_NAME
        },
        "midstream_confusion": midstream["confusion"],
    }


def _change(tally: Tally, effect: str, kind: str = "epe", against: str = "epe_none") -> float | None:
    """Share by which the error with the effect in the prompt is larger than the other."""
    grown = ratio(tally.value(f"model.{effect}.{kind}"), tally.value(f"model.{effect}.{against}"))
    return None if grown is None else grown - 1


def _within(means: Sequence[Means], effect: str) -> dict[str, float | None]:
    """Where `epe_beyond` would fall for other worlds of the kind, 95 in 100 times."""
    under, laid = (
        np.array([world.get(f"model.{effect}.{kind}", (0, 0)) for world in means], np.float64)
        for kind in ("epe", "epe_laid")
    )
    within = bootstrap.of_ratio(under, laid)
    low, high = (None, None) if within is None else (within[0] - 1, within[1] - 1)
    return {"epe_beyond_low": low, "epe_beyond_high": high}


def _largest(changes: Mapping[str, float | None]) -> float | None:
    return max((change for change in changes.values() if change is not None), default=None)


def _mean(shares: Mapping[str, float | None]) -> float | None:
    known = [share for share in shares.values() if share is not None]
    return float(np.mean(known)) if known else None
