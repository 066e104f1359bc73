"""What limits a model? Its error on held-out worlds, taken apart by the part that makes it and by what is shown.

By source: the same clips come from a ladder of makers, from the true clip through the VAE up to the whole model, each
measured as `motion` measures a model. Between two neighbours stands what one part is worth: from the warp through the
VAE to the student what the network corrects, from there on what detail and look add. The look alone knows an effect,
such as snow: how far makers without it are from the VAE is to be read on the clips without one, given beside all.

By content: the whole model's figures over the clips of a kind: by effect, by plot, by how fast things move, by how
much of the frame is uncovered and by how much of it moves.

Every figure is a sum over clips, kept clip by clip in a resumable results file.
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
from benchmarks.plots import Bars, bars
from benchmarks.report import report
from benchmarks.vae import rebuild
from motionstream import console
from motionstream.cli.options import (
    Assets,
    Device,
    HeldOut,
    JsonOut,
    LpipsWeights,
    Model,
    ResumeFile,
    Seed,
    Variety,
    load_lpips,
    load_model,
    weights_of,
)
from motionstream.data import effects
from motionstream.data.assets import AssetLibrary
from motionstream.evaluate import motion
from motionstream.evaluate.baselines import Generate, by_model, checked_video, warp
from motionstream.evaluate.clips import Clip, Source, worlds
from motionstream.evaluate.controls import DENSE, MOVED, checked
from motionstream.evaluate.harness import Item, Results, mean, measure, stamp, table
from motionstream.evaluate.metrics import Follow, Video, moving
from motionstream.evaluate.pictures import sheets
from motionstream.evaluate.pictures.plots import check_target
from motionstream.evaluate.pictures.sheets import Example
from motionstream.evaluate.scores import Reference, figures_of, measured_at
from motionstream.lpips import LpipsNetwork
from motionstream.stream.model import StreamingModel
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
        makers[WARP_THROUGH_VAE] = _maker(by_model(anchor_only(without(model, "detail", "prompt_filter"))), seed)
    if model.detail is not None or model.prompt_filter is not None:
        makers[STUDENT] = _maker(by_model(without(model, "detail", "prompt_filter")), seed)
    if model.detail is not None and model.prompt_filter is not None:
        makers[WITH_DETAIL] = _maker(by_model(without(model, "prompt_filter")), seed)
    makers[WHOLE] = _maker(by_model(model), seed)
    return makers


def _maker(generate: Generate, seed: int) -> Make:
    return lambda clip, given: generate(clip.video[0], given, clip.caption, seed)


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

    sources: worlds, each loaded only when it is not in the results yet. seed: of the choice of points; the noise's is
    the makers'. watch: iterates over the items, one a source, for a progress bar. Raises ValueError on an unknown
    control, a video of another shape than its clip's, or where no clip has the control.
    """
    checked([control])
    items = (
        Item(source.name, partial(_measure, makers, Reference(source, follow, lpips), control, seed))
        for source in sources
    )
    measured = measure(watch(items), results or Results()).rows
    rows: list[Measured] = [{"name": name, **row} for name, row in measured.items() if row is not None]
    if not rows:
        raise ValueError(f"no clip has what control {control!r} gives: ask for more clips, or another control")
    return {
        "clips": len(rows),
        "frames": max(row["frames"] for row in rows),
        "size": "x".join(map(str, rows[0]["size"])),
        "metrics_size": "x".join(map(str, measured_at(rows[0]["size"]))),
        "seed": seed,
        "control": control,
        "points": float(np.mean([row["points"] for row in rows])),
        "without_control": [name for name, row in measured.items() if row is None],
        "missing": [] if lpips else ["lpips"],
        "by_source": _by_source(rows, makers),
        "by_source_without_effect": _by_source([row for row in rows if row["about"]["effect"] == effects.NONE], makers),
        "by_content": {key: _by(rows, key) for key in SPLITS},
        "worst": worst(rows),
        "per_clip": [_of_clip(row) for row in rows],
        **stamp(),
    }


def about(reference: Reference) -> dict[str, Any]:
    """What a clip shows, by the names of `SPLITS`; None where nobody knows."""
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


def _measure(makers: Mapping[str, Make], reference: Reference, control: str, seed: int) -> dict[str, Any] | None:
    """Every maker's sums on one clip; None where the clip has no points of that control."""
    points = reference.points(control, seed)
    if len(points) == 0:
        return None
    clip = reference.clip
    given = clip.tracks.select(points)
    made = {
        name: reference.score(checked_video(make(clip, given), clip.video.shape), points)
        for name, make in makers.items()
    }
    head = {"frames": len(clip.video), "size": list(clip.size), "points": len(points)}
    return {**head, "about": about(reference), "made": made}


def _figures(rows: Iterable[Measured], maker: str) -> dict[str, float | None]:
    """One maker over these clips."""
    return figures_of(table({row["name"]: row["made"] for row in rows}), maker)


def _by_source(rows: Sequence[Measured], makers: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Every maker's figures over these clips, with their number; nothing without clips."""
    return {name: {"clips": len(rows), **_figures(rows, name)} for name in makers} if rows else {}


def _by(rows: Sequence[Measured], key: str) -> dict[str, dict[str, Any]]:
    """The whole model's figures by bin, with the number of clips; bins that have none are left out."""
    split = SPLITS[key]
    known = [(row, row["about"][key]) for row in rows if row["about"][key] is not None]
    named = [(row, str(value) if split is None else split.bin(value)) for row, value in known]
    names = sorted({name for _, name in named}) if split is None else split.names
    bins = {name: [row for row, own in named if own == name] for name in names}
    return {name: _bin(inside) for name, inside in bins.items() if inside}


def _bin(rows: Sequence[Measured]) -> dict[str, Any]:
    figures = _figures(rows, WHOLE)
    return {"clips": len(rows), **{name: figures[name] for name in BIN_FIGURES}}


def worst(rows: Sequence[Measured]) -> list[str]:
    """Names of the clips on which the whole model's squared error is largest, the worst first; three or more."""
    count = max(LEAST_WORST, ceil(WORST_SHARE * len(rows)))
    ordered = sorted(rows, key=lambda row: (-(_mean_square(row) or 0.0), row["name"]))
    return [row["name"] for row in ordered[:count]]


def _mean_square(row: Measured) -> float | None:
    """The whole model's mean squared error on a clip."""
    return mean(table({row["name"]: row["made"]}), f"{WHOLE}.squares")


def _of_clip(row: Measured) -> dict[str, Any]:
    """What the file of figures has of one clip."""
    errors = {name: _figures([row], name)[POOLED] for name in row["made"]}
    return {"name": row["name"], **row["about"], POOLED: errors, "epe_px": _figures([row], WHOLE)["epe_px"]}


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
    axis = "PSNR of all pixels, dB, higher is better"
    bars(path, {title: Bars(axis, one) for title, one in panels.items()})


def _counted(name: str, one: Mapping[str, Any]) -> str:
    return f"{name} ({one['clips']})"


def limits_command(
    assets: Assets,
    model: Model = "tiny",
    device: Device = "auto",
    clips: Annotated[int, typer.Option(help="Held-out worlds; each kind of clip needs some.", min=1)] = 32,
    frames: Annotated[int, typer.Option(help="1 + 4·n.", min=5, max=241)] = 45,
    control: Annotated[str, typer.Option(help="dense, 20 or object, or another of evaluate motion.")] = "dense",
    split: HeldOut = "heldout",
    variety: Variety = 0.0,
    seed: Seed = 0,
    lpips: LpipsWeights = None,
    plot: Annotated[Path | None, typer.Option(help="Draw both tables as bars, .png.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw the worst clips: true, whole and warp, .png.")] = None,
    resume_file: ResumeFile = None,
    json_out: JsonOut = None,
) -> None:
    """Say what limits a model: its VAE, the warp, its network, detail or look; and which clips are hard for it.

    [bold]python -m benchmarks limits --assets pictures --clips 32 --json limits.json --plot limits.png[/]

    [bold]python -m benchmarks limits --assets pictures --control 20 --resume-file limits.jsonl --sheet worst.png[/]

    The same clips are made by ever more of the model: vae (the true clip through the VAE), warp, warp through the vae
    (a network that corrects nothing), student (no detail, no look), with detail (no look), whole. A part that the
    model lacks is left out. Then the whole model by effect, plot, speed, share uncovered and share that moves.
    """

    checked([control])
    if plot:
        check_target(plot)
    library = AssetLibrary(assets, split=split)
    perceptual = load_lpips(lpips)
    loaded = load_model(model, device)
    sources = worlds(library, loaded.size, frames, seed, clips, variety)
    settings = {**weights_of(model, loaded), "split": split, "variety": variety}
    key = {"evaluation": "limits", **settings, "assets": str(assets), "frames": frames, "control": control}
    kept = Results(resume_file, {**key, "seed": seed, "lpips": str(lpips)})
    with console.progress("worlds", clips) as bar:
        makers = ladder(loaded, seed)
        figures = evaluate_limits(makers, sources, control, seed, perceptual, kept, watch=bar.over)
    whole = {**settings, **figures}
    report.show(model, whole)
    console.write_json(whole, json_out)
    if plot:
        draw(whole, plot)
    if sheet:
        sheets.draw(list(examples(loaded, sources, whole)), sheet)
