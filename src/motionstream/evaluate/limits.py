"""What limits a model? Its error on held-out worlds, taken apart by the part that makes it and by what is shown.

By source: the same clips come from a ladder of makers, from the true clip through the VAE up to the whole model, each
measured as `motion` measures a model. Between two neighbours stands what one part is worth: from the warp through the
VAE to the student what the network corrects, from there on what detail and look add. The look alone knows an effect,
such as snow: how far makers without it are from the VAE is to be read on the clips without one, given beside all.

By content: the whole model's figures over the clips of a kind: by effect, by plot, by how fast things move, by how
much of the frame is uncovered and by how much of it moves.

Every figure is a sum over clips, kept clip by clip in a journal, so that a run that was cut goes on.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.data import effects
from motionstream.dit import RollingCache, TextContext
from motionstream.evaluate import machine, motion
from motionstream.evaluate.baselines import Generate, warp
from motionstream.evaluate.clips import Clip, Follow, Source, resized
from motionstream.evaluate.controls import DENSE, MOVED
from motionstream.evaluate.journal import Journal
from motionstream.evaluate.lpips import Lpips
from motionstream.evaluate.metrics import Mean, Video, moving, pooled_psnr
from motionstream.evaluate.motion import Example, Opened, Score, by_model
from motionstream.evaluate.pictures import plots
from motionstream.evaluate.reporting.tables import Row, Table, table
from motionstream.evaluate.vae import rebuild
from motionstream.sampling import PlainStep
from motionstream.sampling.step import StepNoise
from motionstream.stream.model import StreamingModel
from motionstream.tiny.finisher import finisher_of
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks

VAE, WARP, WARP_THROUGH_VAE = "vae", "warp", "warp through the vae"
STUDENT, WITH_DETAIL, WHOLE = "student", "with detail", "whole"
LADDER = (VAE, WARP, WARP_THROUGH_VAE, STUDENT, WITH_DETAIL, WHOLE)
POOLED = "psnr_pooled_db"
SOURCE_FIGURES = (
    *(POOLED, "psnr_db", "moving_psnr_db", "uncovered_psnr_db", "ssim", "lpips"),
    *("epe_px", "epe_moving_px"),
)
BIN_FIGURES = (POOLED, "epe_px", "epe_moving_px")
WORST_SHARE, LEAST_WORST = 0.05, 3  # of the clips are drawn, and at least so many

Make = Callable[[Clip, Tracks], Video]
"""A maker: (true clip, tracks given) → frames (F, H, W, 3) uint8 at the clip's size."""
Measured = Mapping[str, Any]
"""One clip: its name, its `about`, the number of points given, and the sums of each maker under `made`."""


@dataclass(frozen=True)
class Split:
    """How clips are told apart by a number. edges: where the next bin begins; names: one more than edges."""

    edges: tuple[float, ...]
    names: tuple[str, ...]

    def bin(self, value: float) -> str:
        return self.names[bisect_right(self.edges, value)]


SHARES = Split((0.05, 0.2), ("under 5 %", "5 to 20 %", "over 20 %"))
SPLITS: dict[str, Split | None] = {
    "effect": None,
    "plot": None,
    "speed": Split((1.0, 3.0), ("under 1 px", "1 to 3 px", "over 3 px")),
    "uncovered": SHARES,
    "moving": Split((0.2, 0.6), ("under 20 %", "20 to 60 %", "over 60 %")),
}
"""What clips are split by, as in `about`; None: by name. Speed in pixels a frame, the others as shares of the frame."""


def ladder(model: StreamingModel, seed: int = 0) -> dict[str, Make]:
    """The makers of a model, in the order of `LADDER`.

    Left out is what the model has no part for, and what would be the whole model once more: without a warped anchor
    the warp through the VAE; without detail and look the student; without either of them the student with detail.
    """
    makers: dict[str, Make] = {
        VAE: lambda clip, _: rebuild(model, clip.video, model.rollout_config.chunk),
        WARP: _maker(warp, seed),
    }
    if model.network.config.conditioning.anchored:
        makers[WARP_THROUGH_VAE] = _maker(by_model(uncorrected(model)), seed)
    finisher = finisher_of(model)
    if finisher.detail is not None or finisher.prompt_filter is not None:
        makers[STUDENT] = _maker(by_model(without(model, "detail", "prompt_filter")), seed)
    if finisher.detail is not None and finisher.prompt_filter is not None:
        makers[WITH_DETAIL] = _maker(by_model(without(model, "prompt_filter")), seed)
    makers[WHOLE] = _maker(by_model(model), seed)
    return makers


def without(model: StreamingModel, *parts: str) -> StreamingModel:
    """The same model without its "detail", its "prompt_filter" or both."""
    bare = copy.copy(model)
    bare.finisher = finisher_of(model).without(*parts)
    return bare


def uncorrected(model: StreamingModel) -> StreamingModel:
    """The same model with a network that knows nothing: the warp through the VAE, without detail and look."""
    made = without(model, "detail", "prompt_filter")
    made.chunk_step = _Uncorrected(model.network, model.rollout_config, model.geometry.token_grid)
    return made


class _Uncorrected(PlainStep):
    """Chunks whose clean latents are those of the warped anchor, as from an anchored network that returns 0."""

    def denoise(
        self,
        cache: RollingCache,
        conditioning: Conditioning,
        context: TextContext,
        noise: StepNoise,
        known: Tensor | None = None,
    ) -> Tensor:
        """The anchor's latents (B, T, C, h, w); the first of them is `known`, the picture's, for nothing moved yet."""
        return conditioning.prior()

    def commit(self, cache: RollingCache, clean: Tensor, conditioning: Conditioning, context: TextContext) -> None:
        """Nothing is read again."""


def _maker(generate: Generate, seed: int) -> Make:
    return lambda clip, given: generate(clip.video[0], given, clip.caption, seed)


def evaluate_limits(
    makers: Mapping[str, Make],
    sources: Sequence[Source],
    control: str = DENSE,
    seed: int = 0,
    lpips: Lpips | None = None,
    journal: Journal | None = None,
    follow: Follow = track,
    watch: Callable[[Iterable[Source]], Iterable[Source]] = iter,
) -> dict[str, Any]:
    """Measure the makers on the same clips, JSON-ready. makers: `WHOLE` among them; content is split by it.

    sources: worlds, read one at a time, as the journal needs them. seed: of the choice of points; the noise's is the
    makers'. watch: iterates over the sources, for a progress bar. Raises ValueError on an unknown control, a video of
    another shape than its clip's, or where no clip has the control.
    """
    motion.checked([control])
    book = journal or Journal(None, {})
    rows: list[Measured] = []
    lacking: list[str] = []
    for source in watch(sources):
        measure = partial(_measure, makers, Opened(source, follow), control, seed, lpips)
        found = book.measured(source.name, measure)
        if found is None:
            lacking.append(source.name)
        else:
            rows.append({"name": source.name, **found})
    if not rows:
        raise ValueError(f"no clip has what control {control!r} gives: ask for more clips, or another control")
    points = Mean()
    points.add([row["points"] for row in rows])
    return {
        "clips": len(rows),
        "frames": max(row["frames"] for row in rows),
        "size": "x".join(map(str, rows[0]["size"])),
        "metrics_size": "x".join(map(str, motion.measured_at(rows[0]["size"]))),
        "seed": seed,
        "control": control,
        "points": points.value,
        "without_control": lacking,
        "missing": [] if lpips else ["lpips"],
        "by_source": _by_source(rows, makers),
        "by_source_without_effect": _by_source([row for row in rows if row["about"]["effect"] == effects.NONE], makers),
        "by_content": {key: _by(rows, key) for key in SPLITS},
        "worst": worst(rows),
        "per_clip": [_told(row) for row in rows],
        "machine": machine.describe(),
        "date": machine.today(),
    }


def about(opened: Opened) -> dict[str, Any]:
    """What a clip shows, by the names of `SPLITS`; None where nobody knows."""
    clip = opened.true
    return {
        "effect": clip.effect,
        "plot": clip.plot,
        "speed": speed(clip.tracks),
        "uncovered": None if clip.uncovered is None else float(clip.uncovered[1:].mean()),
        "moving": float(opened.moving_pixels[1:].mean()),
    }


def speed(tracks: Tracks) -> float:
    """Mean pixels a frame, while in sight, of the points that move; 0 where none does."""
    moved = tracks.select((tracks.visible & moving(tracks, MOVED)).any(0))
    steps = np.linalg.norm(np.diff(moved.xy.astype(np.float64), axis=0), axis=-1)
    seen = moved.visible[1:] & moved.visible[:-1]
    return float(steps[seen].mean()) if seen.any() else 0.0


def _measure(
    makers: Mapping[str, Make], opened: Opened, control: str, seed: int, lpips: Lpips | None
) -> dict[str, Any] | None:
    """Every maker's sums on one clip; None where the clip has no points of that control."""
    points = opened.points(control, seed)
    if len(points) == 0:
        return None
    clip, made = opened.clip, {}
    given = clip.tracks.select(points)
    for name, make in makers.items():
        seen = resized(motion.fitting(make(clip, given), clip), opened.true.size)
        score = motion.pictures(seen, opened, lpips)
        motion.score_tracks(score, seen, opened, points, opened.follow)
        made[name] = score.sums()
    head = {"frames": len(clip.video), "size": list(clip.size), "points": len(points)}
    return {**head, "about": about(opened), "made": made}


def _score(rows: Iterable[Measured], maker: str) -> Score:
    """One maker over these clips."""
    score = Score()
    for row in rows:
        score.join(row["made"][maker])
    return score


def _by_source(rows: Sequence[Measured], makers: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Every maker's figures over these clips, with their number; nothing without clips."""
    return {name: {"clips": len(rows), **_score(rows, name).report()} for name in makers} if rows else {}


def _by(rows: Sequence[Measured], key: str) -> dict[str, dict[str, Any]]:
    """The whole model's figures by bin, with the number of clips; bins that have none are left out."""
    split = SPLITS[key]
    known = [(row, row["about"][key]) for row in rows if row["about"][key] is not None]
    named = [(row, str(value) if split is None else split.bin(value)) for row, value in known]
    names = sorted({name for _, name in named}) if split is None else split.names
    bins = {name: [row for row, own in named if own == name] for name in names}
    return {name: _bin(inside) for name, inside in bins.items() if inside}


def _bin(rows: Sequence[Measured]) -> dict[str, Any]:
    figures = _score(rows, WHOLE).report()
    return {"clips": len(rows), **{name: figures[name] for name in BIN_FIGURES}}


def worst(rows: Sequence[Measured]) -> list[str]:
    """Names of the clips on which the whole model's squared error is largest, the worst first; three or more."""
    count = max(LEAST_WORST, ceil(WORST_SHARE * len(rows)))
    ordered = sorted(rows, key=lambda row: (-(_score([row], WHOLE).squares.value or 0.0), row["name"]))
    return [row["name"] for row in ordered[:count]]


def _told(row: Measured) -> dict[str, Any]:
    """What a reader wants to know of one clip."""
    errors = {name: pooled_psnr(_score([row], name).squares) for name in row["made"]}
    return {"name": row["name"], **row["about"], POOLED: errors, "epe_px": _score([row], WHOLE).epe.value}


def examples(model: StreamingModel, sources: Iterable[Source], figures: Mapping[str, Any]) -> Iterator[Example]:
    """True clip, whole model and warp of the worst clips, the worst first, each under its name and error."""
    by_name = {source.name: source for source in sources}
    errors = {row["name"]: row[POOLED][WHOLE] for row in figures["per_clip"]}
    chosen = [by_name[name] for name in figures["worst"]]
    for each in motion.examples(by_model(model), chosen, figures["seed"], figures["control"]):
        videos = {WHOLE if name == "model" else name: video for name, video in each.videos.items()}
        yield replace(each, videos=videos, caption=f"{each.name}, {errors[each.name]:.1f} dB: {each.caption}")


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of two panels: the pooled PSNR by source, and that of the whole model by content."""
    sources = {
        title: {_counted(f"{name}{title}", one): one[POOLED] for name, one in found.items()}
        for title, found in {"": figures["by_source"], ", no effect": figures["by_source_without_effect"]}.items()
    }
    content = {
        key: {_counted(f"{key}: {name}", one): one[POOLED] for name, one in bins.items()}
        for key, bins in figures["by_content"].items()
    }
    panels = {"By source (clips)": sources, "Whole model, by content (clips)": content}
    plots.bars(
        path, {title: plots.Bars("PSNR of all pixels, dB, higher is better", one) for title, one in panels.items()}
    )


def _counted(name: str, one: Mapping[str, Any]) -> str:
    return f"{name} ({one['clips']})"


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Both answers for a reader; that by source also of the clips without an effect, where there are some."""
    content = [Row(f"{key}: {name}", one) for key, bins in figures["by_content"].items() for name, one in bins.items()]
    titles = {"All clips": figures["by_source"], "Clips without an effect": figures["by_source_without_effect"]}
    by_source = [
        table(f"{title}, by source", [Row(name, one) for name, one in found.items()], SOURCE_FIGURES)
        for title, found in titles.items()
        if found
    ]
    return [*by_source, table("Whole model, by content", content, ("clips", *BIN_FIGURES))]
