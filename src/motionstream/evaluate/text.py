"""Does the prompt do what it says, and does the motion survive it?

Weather, light and film effects are what only the prompt can specify (`data/effects.py`). A model is given a clean first
frame, the tracks, and the caption with each effect named in it, or with none; a probe fitted on true clips of other
pictures (`probe.py`) classifies its video. Every world is generated under every prompt, so a model that ignores prompts
is recognised in exactly one of them: chance.

The motion error (EPE) is measured on the same tracks with and without the effect, where the tracker can be trusted on
the true clips of both kinds. Flakes or darkness disturb the tracker, which is not the model's error, so beside it
stands the error on the model's own frames without the effect after the true effect was applied to them (`epe_laid`):
what a perfect effect would show. That effect is drawn anew several times, because the flakes on a model's video are
not those of the true clip, and the trusted places were chosen on the latter. Trust leaves out much of what moves fast
or rotates: the shares kept stand beside the figures, and moving points (4 px from their first place) have figures of
their own. A few points lost in one world may be a tenth of a mean: what an effect costs has a bootstrap interval.

An item is a world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from motionstream.data.effects import BY_NAME, NONE
from motionstream.data.synthetic import SyntheticWorlds
from motionstream.evaluate.baselines import Generate, generated, warp
from motionstream.evaluate.clips import evenly
from motionstream.evaluate.harness import (
    Item,
    Results,
    Row,
    Sums,
    interval_of_ratio,
    mean,
    mean_of,
    measure,
    ratio,
    stamp,
    table,
)
from motionstream.evaluate.metrics import Mask, Video, after_birth, distance, measurable, moving, retrack
from motionstream.evaluate.probe import FEWEST_FRAMES, Probe, features
from motionstream.evaluate.prompt_worlds import CLASSES, PromptWorld, affected
from motionstream.stream.offline import play
from motionstream.tracks import Tracks

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 3  # frames of each clip on a sheet

Change = Callable[[Video, Tracks, tuple[str, str], int, int], tuple[Video, int]]
"""(first frame, tracks, prompts before and after, frame from which the second is wanted, seed) → the video, and the
frame from which the second prompt was in force."""


def evaluate_text(
    generate: Generate,
    change: Change | None,
    training: SyntheticWorlds,
    heldout: SyntheticWorlds,
    probe_worlds: int,
    count: int,
    seed: int = 0,
    results: Results | None = None,
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> dict[str, Any]:
    """Measure a generator on `count` held-out worlds with a probe fitted on `probe_worlds` others, JSON-ready.

    change: the generator whose prompt changes during the clip, or None. watch: iterates over all items, for a progress
    bar. Raises ValueError when the worlds draw effects of their own, or on a video of another shape.
    """
    if training.effects or heldout.effects:
        raise ValueError("worlds with effects of their own: make them with effects=False")

    def fitted(number: int) -> Row:
        return PromptWorld.of(training, number, seed).features()

    def generated(number: int) -> Row:
        return _WorldMeasure(PromptWorld.of(heldout, number, seed), generate, change, seed + number).row()

    items = [Item(f"probe {n}", partial(fitted, n)) for n in range(probe_worlds)]
    items += [Item(f"world {n}", partial(generated, n)) for n in range(count)]
    rows = list(measure(watch(items), results or Results()).rows.values())
    probe = Probe.fit([clips[name] for clips in rows[:probe_worlds] for name in CLASSES], [*CLASSES] * probe_worlds)
    clips = [row["features"] for row in rows[probe_worlds:]]
    found = table({number: row["sums"] for number, row in enumerate(rows[probe_worlds:])})
    return {
        "worlds": count,
        "probe_worlds": probe_worlds,
        "frames": heldout.frames,
        "size": f"{heldout.size[0]}x{heldout.size[1]}",
        "seed": seed,
        "chance": 1 / len(CLASSES),
        "probe": _recognised(probe, clips, "true"),
        "scores": {"model": _of_model(probe, clips, found), "warp": _recognised(probe, clips, "warp")},
        **stamp(),
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


def shown(worlds: SyntheticWorlds, generate: Generate, number: int = 0, seed: int = 0) -> dict[str, Video]:
    """A row for each effect, for `sheets.strips`: frames of the true clip, then of the generator's."""
    world = PromptWorld.of(worlds, number, seed)
    columns = evenly(worlds.frames, SHOWN)
    rows: dict[str, Video] = {}
    for name in CLASSES:
        true, caption = world.true(name), world.caption(name)
        made = generate(true[0], world.tracks, caption, seed + number)
        rows[f"{name}: true | model, {caption}"] = np.concatenate([true[columns], made[columns]])
    return rows


# --- one world --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _WorldMeasure:
    """What a generator makes of one held-out world under every prompt. seed: of its streams."""

    world: PromptWorld
    generate: Generate
    change: Change | None
    seed: int

    def row(self) -> Row:
        """`features` by source and effect, and `sums` of distances."""
        sums, tracks = Sums(), self.world.tracks
        plain = self.world.true(NONE)
        without = self._made(plain[0], NONE)
        trusted, found_without = measurable(tracks, retrack(plain, tracks)), retrack(without, tracks)
        of_warp = features(warp(plain[0], tracks), tracks)
        found: dict[str, dict[str, dict[str, float]]] = {"true": {}, "model": {}, "warp": {}, "midstream": {}}
        for effect in CLASSES:
            true = plain if effect == NONE else self.world.true(effect)
            made = without if effect == NONE else self._made(plain[0], effect)
            found["true"][effect], found["model"][effect] = features(true, tracks), features(made, tracks)
            found["warp"][effect] = of_warp
            if self.change is not None:
                found["midstream"][effect] = self._midstream(self.change, plain[0], effect)
            in_true = retrack(true, tracks)
            counted = trusted & measurable(tracks, in_true)
            self._add_distances(sums, effect, in_true, retrack(made, tracks), found_without, trusted, counted)
            for other in self.world.redrawn(effect) if effect != NONE else ():
                laid = retrack(affected(without, other), tracks)
                sums.add(f"model.{effect}.epe_laid", distance(tracks, laid)[counted])
        return {"features": found, "sums": sums}

    def _made(self, first: Video, effect: str) -> Video:
        return generated(self.generate, first, self.world.tracks, self.world.caption(effect), self.seed)

    def _midstream(self, change: Change, first: Video, effect: str) -> dict[str, float]:
        """Features from the frame on at which the prompt names the effect, a third into the clip."""
        tracks, prompts = self.world.tracks, (self.world.caption(NONE), self.world.caption(effect))
        video, changed = change(first, tracks, prompts, tracks.frames // 3, self.seed)
        begin = changed - 1
        if tracks.frames - begin < FEWEST_FRAMES:
            raise ValueError(f"the prompt could change only at frame {changed} of {tracks.frames}: ask for more frames")
        return features(video[begin:], tracks.slice(begin, tracks.frames))

    def _add_distances(
        self, sums: Sums, effect: str, in_true: Tracks, in_made: Tracks, without: Tracks, trusted: Mask, counted: Mask
    ) -> None:
        """trusted: on the true clip without the effect; counted: on that with the effect too."""
        tracks = self.world.tracks
        visible, moves = after_birth(tracks), moving(tracks)
        for kind, where in (("epe", counted), ("moving", counted & moves)):
            sums.add(f"model.{effect}.{kind}", distance(tracks, in_made)[where])
            sums.add(f"model.{effect}.{kind}_none", distance(tracks, without)[where])
        sums.add(f"tracker.{effect}.epe", distance(tracks, in_true)[trusted])
        sums.add(f"tracker.{effect}.kept", counted[visible])
        sums.add(f"tracker.{effect}.kept_moving", counted[visible & moves])


# --- all worlds -------------------------------------------------------------------------------------------------------


def _recognised(probe: Probe, clips: Sequence[Mapping[str, Any]], source: str) -> dict[str, Any]:
    """Shares of clips whose effect was recognised, and how often each effect was taken for each."""
    confusion = {
        name: Counter(probe.names_of([world[source][name] for world in clips if name in world[source]]))
        for name in CLASSES
    }
    shares = {name: ratio(counts[name], counts.total()) for name, counts in confusion.items()}
    return {
        "recognised": mean_of(_known(shares.values())),
        "recognised_effects": mean_of(_known(shares[name] for name in BY_NAME)),
        "recognised_by_class": shares,
        "confusion": {name: {other: counts[other] for other in CLASSES} for name, counts in confusion.items()},
    }


def _of_model(probe: Probe, clips: Sequence[Mapping[str, Any]], found: pd.DataFrame) -> dict[str, Any]:
    whole, midstream = (_recognised(probe, clips, source) for source in ("model", "midstream"))
    effects = {name: _of_effect(found, name) for name in BY_NAME}
    return {
        **whole,
        "midstream_recognised": midstream["recognised"],
        "midstream_recognised_effects": midstream["recognised_effects"],
        "epe_none_px": mean(found, f"model.{NONE}.epe"),
        "epe_change_largest": max(_known(one["epe_change"] for one in effects.values()), default=None),
        "epe_beyond_largest": max(_known(one["epe_beyond"] for one in effects.values()), default=None),
        "effects": {
            name: {
                "recognised": whole["recognised_by_class"][name],
                "midstream_recognised": midstream["recognised_by_class"][name],
                **figures,
            }
            for name, figures in effects.items()
        },
        "midstream_confusion": midstream["confusion"],
    }


def _of_effect(found: pd.DataFrame, effect: str) -> dict[str, float | None]:
    """Motion under one effect. epe_change, epe_beyond: relative increase of the EPE over that without the effect, and
    over that on frames to which the true effect was applied; the latter with its interval."""
    epe, none, laid, moves, moves_none = (
        f"model.{effect}.{kind}" for kind in ("epe", "epe_none", "epe_laid", "moving", "moving_none")
    )
    low, high = interval_of_ratio(found, epe, laid) or (None, None)
    return {
        "epe_px": mean(found, epe),
        "epe_none_px": mean(found, none),
        "epe_change": _increase(mean(found, epe), mean(found, none)),
        "epe_laid_over_px": mean(found, laid),
        "epe_beyond": _increase(mean(found, epe), mean(found, laid)),
        "epe_beyond_low": _increase(low, 1),
        "epe_beyond_high": _increase(high, 1),
        "epe_moving_px": mean(found, moves),
        "epe_none_moving_px": mean(found, moves_none),
        "epe_moving_change": _increase(mean(found, moves), mean(found, moves_none)),
        "tracker_epe_px": mean(found, f"tracker.{effect}.epe"),
        "tracker_kept_share": mean(found, f"tracker.{effect}.kept"),
        "tracker_kept_moving_share": mean(found, f"tracker.{effect}.kept_moving"),
    }


def _increase(value: float | None, over: float | None) -> float | None:
    """Share by which a value is larger than another."""
    grown = ratio(value, over)
    return None if grown is None else grown - 1


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
