"""What limits a model? Its error on held-out worlds, taken apart by the part that makes it and by what is shown.

By source: the same clips come from a ladder of makers, from the true clip through the VAE up to the whole model, each
measured as `evaluate motion` measures a model. Between two neighbours stands what one part is worth: from the warp
through the VAE to the student what the network corrects, from there on what detail and prompt filter add. The prompt
filter alone makes an effect, such as snow: how far makers without it are from the VAE is to be read on the clips
without an effect, given beside all.

By content: the whole model's figures over the clips of a kind: by effect, by plot, by how fast things move, by how
much of the frame is uncovered and by how much of it moves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.parts import anchor_only, without
from benchmarks.report import report
from benchmarks.vae import rebuild
from motionstream import console
from motionstream.cli import options
from motionstream.data import effects
from motionstream.data.assets import AssetLibrary
from motionstream.evaluate import motion
from motionstream.evaluate.baselines import Generate, by_model, generated, warp
from motionstream.evaluate.clips import Clip, Source, worlds
from motionstream.evaluate.controls import DENSE, MOVED, checked
from motionstream.evaluate.harness import Item, Results, Row, mean, measure, stamp, table
from motionstream.evaluate.metrics import Follow, Video, moving, psnr_of
from motionstream.evaluate.pictures import sheets
from motionstream.evaluate.pictures.sheets import Example
from motionstream.evaluate.scores import Reference, figures_of, measured_at
from motionstream.lpips import LpipsNetwork
from motionstream.stream.model import StreamingModel
from motionstream.tiny.finisher import finisher_of
from motionstream.trackers.lucas_kanade import track
from motionstream.tracks import Tracks

VAE, WARP, WARP_THROUGH_VAE = "vae", "warp", "warp through the vae"
STUDENT, WITH_DETAIL, WHOLE = "student", "with detail", "whole"
LADDER = (VAE, WARP, WARP_THROUGH_VAE, STUDENT, WITH_DETAIL, WHOLE)
POOLED = "psnr_pooled_db"
BIN_FIGURES = (POOLED, "epe_px", "epe_moving_px")
WORST_SHARE, LEAST_WORST = 0.05, 3  # of the clips are drawn, and at least so many

Make = Callable[[Clip, Tracks], Video]
"""A maker: (true clip, tracks given) → frames (F, H, W, 3) uint8 at the clip's size."""
Rows = Mapping[str, Row]
"""Of each clip by name: its `about`, its frames and size, the number of points given, and the makers' sums."""


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
    the warp through the VAE; without detail and prompt filter the student; without one of them the student with detail.
    """

    def maker(generate: Generate) -> Make:
        return lambda clip, given: generate(clip.video[0], given, clip.caption, seed)

    parts, chunk = ("detail", "prompt_filter"), model.rollout_config.chunk
    has = [getattr(finisher_of(model), part) is not None for part in parts]
    makers: dict[str, Make] = {VAE: lambda clip, _: rebuild(model, clip.video, chunk), WARP: maker(warp)}
    if model.network.config.conditioning.anchored:
        makers[WARP_THROUGH_VAE] = maker(by_model(anchor_only(without(model, *parts))))
    if any(has):
        makers[STUDENT] = maker(by_model(without(model, *parts)))
    if all(has):
        makers[WITH_DETAIL] = maker(by_model(without(model, "prompt_filter")))
    return {**makers, WHOLE: maker(by_model(model))}


def evaluate_limits(
    makers: Mapping[str, Make],
    sources: Sequence[Source],
    control: str = DENSE,
    seed: int = 0,
    lpips: LpipsNetwork | None = None,
    results: Results | None = None,
    follow: Follow = track,
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> dict[str, Any]:
    """Measure the makers on the same clips, JSON-ready. makers: `WHOLE` among them; content is split by it.

    sources: worlds, read one at a time, as the results lack them. seed: of the choice of points; the noise's is the
    makers'. watch: iterates over the items, for a progress bar. Raises ValueError on an unknown control, a video of
    another shape than its clip's, or where no clip has the control.
    """
    checked([control])
    references = (Reference(source, follow, lpips) for source in sources)
    items = (Item(one.source.name, partial(_measure, makers, one, control, seed)) for one in references)
    found = measure(watch(items), results or Results()).rows
    rows = {name: row for name, row in found.items() if row is not None}
    if not rows:
        raise ValueError(f"no clip has what control {control!r} gives: ask for more clips, or another control")
    size = next(iter(rows.values()))["size"].split("x")
    plain = {name: row for name, row in rows.items() if row["about"]["effect"] == effects.NONE}
    return {
        "clips": len(rows),
        "frames": max(row["frames"] for row in rows.values()),
        "size": "x".join(size),
        "metrics_size": "{}x{}".format(*measured_at([int(pixels) for pixels in size])),
        "seed": seed,
        "control": control,
        "points": float(np.mean([row["points"] for row in rows.values()])),
        "without_control": [name for name in found if name not in rows],
        "missing": [] if lpips else ["lpips"],
        "by_source": _by_source(rows, makers),
        "by_source_without_effect": _by_source(plain, makers),
        "by_content": {key: _by(rows, key) for key in SPLITS},
        "worst": worst(rows),
        "per_clip": [_about_clip(name, row) for name, row in rows.items()],
        **stamp(),
    }


def about(reference: Reference) -> dict[str, Any]:
    """What a clip shows, by the names of `SPLITS`; None where it is not known."""
    clip = reference.true
    return {
        "effect": clip.effect,
        "plot": clip.plot,
        "speed": speed(clip.tracks),
        "uncovered": None if clip.uncovered is None else float(clip.uncovered[1:].mean()),
        "moving": float(reference.moving_pixels[1:].mean()),
    }


def speed(tracks: Tracks) -> float:
    """Mean pixels a frame, while in sight, of the points that move; 0 where none does."""
    moved = tracks.select((tracks.visible & moving(tracks, MOVED)).any(0))
    steps = np.linalg.norm(np.diff(moved.xy.astype(np.float64), axis=0), axis=-1)
    seen = moved.visible[1:] & moved.visible[:-1]
    return float(steps[seen].mean()) if seen.any() else 0.0


def _measure(makers: Mapping[str, Make], reference: Reference, control: str, seed: int) -> Row:
    """Every maker's sums on one clip; None where the clip has no points of that control."""
    points = reference.points(control, seed)
    if len(points) == 0:
        return None
    clip = reference.clip
    given = clip.tracks.select(points)
    first, caption, made = clip.video[0], clip.caption, {}
    for name, make in makers.items():
        video = generated(lambda *_, make=make: make(clip, given), first, given, caption, seed)
        made[name] = reference.score(video, points)
    head = {"frames": len(clip.video), "size": "{}x{}".format(*clip.size), "points": len(points)}
    return {**head, "about": about(reference), "made": made}


def _figures(rows: Rows, maker: str) -> dict[str, float | None]:
    """One maker's over these clips."""
    return figures_of(table({name: row["made"] for name, row in rows.items()}), maker)


def _by_source(rows: Rows, makers: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Every maker's figures over these clips, with their number; nothing without clips."""
    return {name: {"clips": len(rows), **_figures(rows, name)} for name in makers} if rows else {}


def _by(rows: Rows, key: str) -> dict[str, dict[str, Any]]:
    """The whole model's figures by bin, with the number of clips; bins that have none are left out."""
    split, bins = SPLITS[key], dict[str, dict[str, Row]]()
    for name, row in rows.items():
        value = row["about"][key]
        if value is not None:
            bins.setdefault(value if split is None else split.bin(value), {})[name] = row
    order = sorted(bins) if split is None else [name for name in split.names if name in bins]
    found = {name: _figures(bins[name], WHOLE) for name in order}
    return {name: {"clips": len(bins[name]), **{key: one[key] for key in BIN_FIGURES}} for name, one in found.items()}


def worst(rows: Rows) -> list[str]:
    """Names of the clips on which the whole model's squared error is largest, the worst first; three or more."""
    squares = mean_squares(rows, WHOLE)
    ordered = sorted(rows, key=lambda name: (-squares[name], name))
    return ordered[: max(LEAST_WORST, ceil(WORST_SHARE * len(rows)))]


def mean_squares(rows: Rows, maker: str) -> dict[str, float]:
    """Of each clip: the mean squared error of one maker, in levels (0…255)."""
    return {name: mean(table({name: row["made"]}), f"{maker}.squares") or 0.0 for name, row in rows.items()}


def _about_clip(name: str, row: Row) -> dict[str, Any]:
    """What a reader wants to know of one clip."""
    errors = {maker: psnr_of(mean_squares({name: row}, maker)[name]) for maker in row["made"]}
    return {"name": name, **row["about"], POOLED: errors, "epe_px": _figures({name: row}, WHOLE)["epe_px"]}


def examples(model: StreamingModel, sources: Iterable[Source], figures: Mapping[str, Any]) -> Iterator[Example]:
    """True clip, whole model and warp of the worst clips, the worst first, each under its name and error."""
    by_name = {source.name: source for source in sources}
    errors = {row["name"]: row[POOLED][WHOLE] for row in figures["per_clip"]}
    chosen = [by_name[name] for name in figures["worst"]]
    for each in motion.examples(by_model(model), chosen, figures["seed"], figures["control"]):
        videos = {WHOLE if name == "model" else name: video for name, video in each.videos.items()}
        yield replace(each, videos=videos, caption=f"{each.name}, {errors[each.name]:.1f} dB: {each.caption}")


def limits_command(
    assets: options.Assets,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds; each kind of clip needs some.", min=1)] = 32,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    control: Annotated[str, typer.Option(help="dense, 20 or object, or another of evaluate motion.")] = "dense",
    split: options.HeldOut = "heldout",
    variety: options.Variety = 0.0,
    seed: options.Seed = 0,
    lpips: options.LpipsWeights = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw the worst clips: true, whole and warp, .png.")] = None,
    resume_file: options.ResumeFile = None,
    json_out: options.JsonOut = None,
) -> None:
    """Measure what limits a model: its VAE, the warp, network, detail or prompt filter; and which clips are hard.

    [bold]python -m benchmarks limits --assets pictures --clips 32 --json limits.json[/]

    [bold]python -m benchmarks limits --assets pictures --control 20 --resume-file limits.jsonl --sheet worst.png[/]

    The same clips are made by ever more of the model: vae (the true clip through the VAE), warp, warp through the vae
    (a network that corrects nothing), student (no detail, no prompt filter), with detail (no prompt filter), whole. A
    part that the model lacks is left out. Then the whole model by effect, plot, speed, share uncovered and moving.
    """
    checked([control])
    library = AssetLibrary(assets, split=split)
    perceptual = options.load_lpips(lpips)
    loaded = options.load_model(model, device)
    sources = worlds(library, loaded.size, frames, seed, clips, variety)
    settings = {**options.weights_of(model, loaded), "split": split, "variety": variety}
    key = {"evaluation": "limits", **settings, "assets": str(assets), "frames": frames, "control": control}
    kept = Results(resume_file, {**key, "seed": seed, "lpips": str(lpips)})
    with console.progress("worlds", clips) as bar:
        figures = evaluate_limits(ladder(loaded, seed), sources, control, seed, perceptual, kept, watch=bar.over)
    whole = {**settings, **figures}
    report.show(model, whole)
    console.write_json(whole, json_out)
    if sheet:
        sheets.draw(list(examples(loaded, sources, whole)), sheet)
