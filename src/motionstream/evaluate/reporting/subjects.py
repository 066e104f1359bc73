"""What each kind of result has to say: which command wrote it, which figures make which table, and what the paper has.

A kind is told by what is in a file, not by its name. Whatever is not where it is expected is left out of the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from motionstream.evaluate.reporting import paper
from motionstream.evaluate.reporting.paper import PaperRow
from motionstream.evaluate.reporting.results import NONE, Figures, Result, group, text
from motionstream.evaluate.reporting.tables import Row, Table, table

MEASURED = ("conditions", "model", "machine", "date")
"""Headings of the cells that say on what, with what, where and when a row was measured."""
GENERATORS = ("model", "warp", "still")
ABLATIONS = ("sink", "window", "chunk", "steps", "tracks", "guidance")
STEP_PARTS = ("step", "condition", "denoise", "decode", "commit")
ABOUT = {"model", "model_hash", "machine", "date", "missing", "skipped"}
"""Keys that are told beside a table, not in it."""
MOST_GENERIC = 40  # figures shown of a file of no known kind

Found = Iterator[tuple[str, Figures]]
"""Rows of one file: name → figures."""


@dataclass(frozen=True)
class Subject:
    """One table. columns: dotted names of a row's figures. headline: those worth a place in a README, none for none;
    first: of rows by name, which. paper: the paper's rows that may stand beside ours.
    """

    title: str
    rows: Callable[[Figures], Found]
    columns: tuple[str, ...]
    headline: tuple[str, ...] = ()
    paper: tuple[PaperRow, ...] = ()
    note: str = ""
    first: Callable[[str], bool] = lambda name: True

    def table(self, results: Sequence[Result]) -> Table | None:
        """Ours, file by file, then the paper's, each row with what it was measured on, or None without ours."""
        ours = [
            Row(name, figures, (one.conditions, one.model, one.machine, one.date))
            for one in results
            for name, figures in self.rows(one.figures)
        ]
        if not table(self.title, ours, self.columns).figures:
            return None
        quoted = [_quoted(row) for row in self.paper]
        return table(self.title, [*ours, *quoted], self.columns, MEASURED, self.note)

    def short(self, result: Result) -> Table | None:
        """The headline figures of one file, whose circumstances are said elsewhere."""
        found = self.rows(result.figures) if self.headline else iter(())
        rows = [Row(name, figures) for name, figures in found if self.first(name)]
        made = table(self.title, rows, self.headline, first=self.title)
        return made if made.figures else None


@dataclass(frozen=True)
class Kind:
    """A kind of result. command: what writes it. recognises: whether a file's figures are of it."""

    title: str
    command: str
    recognises: Callable[[Figures], bool]
    subjects: tuple[Subject, ...]


def kind_of(result: Result) -> Kind | None:
    """The kind of a file, or None where it is none of ours."""
    return next((kind for kind in KINDS if kind.recognises(result.figures)), None)


def headline(result: Result) -> list[Table]:
    """The few figures of a file that a README has room for."""
    kind = kind_of(result)
    found = [subject.short(result) for subject in kind.subjects] if kind else []
    return [one for one in found if one is not None]


def generic(result: Result) -> Table:
    """A file of no known kind: its single figures, by dotted name; what is a list is counted."""
    figures = list(_flat({key: value for key, value in result.figures.items() if key not in ABOUT}))
    rows = [Row(name, {"value": value}) for name, value in figures[:MOST_GENERIC]]
    left = len(figures) - MOST_GENERIC
    measured = ", ".join(part for part in (result.model, result.machine, result.date) if part != NONE)
    more = [f"{left} more figures are in the file."] if left > 0 else []
    return table(result.file.name, rows, ("value",), note=" ".join([*([f"{measured}."] if measured else []), *more]))


def _quoted(row: PaperRow) -> Row:
    return Row(row.name, row.figures, (f"{row.conditions}; {row.where}", NONE, row.measured_by, paper.SOURCE), True)


def _flat(figures: Figures, above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _has(*keys: str) -> Callable[[Figures], bool]:
    return lambda figures: all(key in figures for key in keys)


def _groups(figures: Figures, names: Iterable[str]) -> Found:
    """Those of the names under which there is a group of figures."""
    for name in names:
        found = group(figures, name)
        if found:
            yield name.replace("_", " "), found


# --- rows of each kind ------------------------------------------------------------------------------------------------


def _controls(figures: Figures) -> list[str]:
    """The controls of motion transfer: what has a model and a still picture, compared."""
    return [name for name, value in figures.items() if isinstance(value, Mapping) and "still_ratio" in value]


def _motion(figures: Figures) -> Found:
    for control in _controls(figures):
        whole = figures[control]
        told = {key: whole[key] for key in ("clips", "points") if key in whole}
        for name, one in _groups(whole, GENERATORS):
            ratio = {"still_ratio": whole["still_ratio"]} if name == "model" else {}
            yield f"{name}, {_points(control)}", {**told, **one, **ratio}


def _points(control: str) -> str:
    return f"{control} point{'' if control == '1' else 's'}" if control.isdigit() else control


def _own_error(figures: Figures) -> Found:
    """Of the tracker, as it stands in a file on motion or is one of its own."""
    if "tap_vid_256" in figures:
        yield text(figures.get("model")), figures
        return
    found = group(figures, "tracker")
    if "epe_px" in found:
        yield text(figures.get("tracker_name", "tracker")), found


def _packages(figures: Figures) -> Found:
    fvd, vbench = group(figures, "fvd"), group(figures, "vbench")
    if fvd or vbench:
        yield "model", {"fvd": fvd.get("value"), "vbench": vbench}


def _by_content(figures: Figures) -> Found:
    splits = group(figures, "by_content")
    for key in splits:
        for name, found in _groups(group(splits, key), group(splits, key)):
            yield f"{key}: {name}", found


def _by_group(path: str, figures: Figures) -> Found:
    """Every group below a path."""
    below = group(figures, path)
    yield from _groups(below, below)


def _generators(path: str, figures: Figures) -> Found:
    """model, warp and still; path: to the group within each, "" for the whole of it."""
    scores = group(figures, "scores")
    for name in GENERATORS:
        found = group(scores, f"{name}.{path}" if path else name)
        if found:
            yield name, found


def _text(figures: Figures) -> Found:
    yield from _generators("", figures)
    yield "true clips: the probe's own accuracy", group(figures, "probe")
    yield "chance", {"recognised": figures.get("chance")}


def _camera(figures: Figures) -> Found:
    for depth in ("true_depth", "estimated_depth"):
        for name, one in _groups(group(figures, depth), GENERATORS):
            yield f"{name}, {depth.replace('_', ' ')}", one
    yield from _groups(figures, ("still", "tracker"))
    for depth, one in _groups(group(figures, "tracks"), ("true_depth", "estimated_depth")):
        yield f"tracks by {depth}", one


def _long(figures: Figures) -> Found:
    """Of each variant's sizes, by scene; their names are those of its curves."""
    for variant in group(figures, "curves"):
        for scene, one in _by_group(variant, figures):
            yield f"{variant}, {scene}", one


def _live(figures: Figures) -> Found:
    """In this process, or of so many viewers of the server; the first frame's median where there are several."""
    viewers = group(figures, "viewers")
    if not viewers and "gesture_to_frame_ms" in figures:
        yield "in this process", figures
    for count, one in viewers.items():
        if isinstance(one, Mapping):
            first = group(one, "first_frame_ms").get("p50")
            yield f"{count} viewer{'s' * (count != '1')} of the server", {**one, "first_frame_ms": first}


def _step(figures: Figures) -> Found:
    for part, one in _groups(figures, STEP_PARTS):
        told = {"fps": figures.get("fps"), "calls": figures.get("calls")} if part == "step" else {}
        yield part, {**told, **one}


def _ratios(figures: Figures) -> Found:
    process = group(figures, "ratio_process")
    for name, one in group(figures, "ratio").items():
        if isinstance(one, Mapping):
            yield name.replace("_", " "), {**one, "processor_time": group(process, name).get("median")}


def _forms(figures: Figures) -> Found:
    names = [name for name, value in figures.items() if isinstance(value, Mapping) and "process_ms" in value]
    yield from _groups(figures, names)


def _predicted(figures: Figures) -> Found:
    """Of each size and machine, and what was measured of that size if anything was."""
    for name, one in _groups(group(figures, "predictions"), group(figures, "predictions")):
        for machine, predicted in _groups(group(one, "machines"), group(one, "machines")):
            yield f"{name}, {machine}", {**predicted, "measured": group(figures, f"measured.{name}")}


def _itself(name: str, figures: Figures) -> Found:
    yield name, figures


def _ablated(figures: Figures) -> bool:
    return "curves" in figures and any(group(figures, name) for name in ABLATIONS)


# --- the kinds --------------------------------------------------------------------------------------------------------

OTHER_DATA = (
    "The paper's rows are of Wan models on its own data; ours say on what they were measured. "
    "Only rows on the same data in the same frame can be compared figure by figure."
)
SCORES = ("psnr_db", "ssim", "lpips", "epe_px")

MOTION = Subject(
    "Motion transfer",
    _motion,
    (
        *("clips", "points", *SCORES, "epe_moving_px", "epe_false_moving_px", "false_ratio", "still_ratio"),
        *("tracker_kept", "psnr_pooled_db", "moving_psnr_db", "uncovered_psnr_db"),
    ),
    (*SCORES, "epe_moving_px", "false_ratio", "still_ratio"),
    paper.MOTION_TRANSFER,
    "EPE: mean distance between visible tracks given and tracks found again. False ratio: how many times worse the "
    "metric finds a false track; still ratio: how many times worse standing still is than the model, both on points "
    f"that move. {OTHER_DATA}",
    first=lambda name: name.startswith("model") or name.endswith("dense"),
)
VBENCH = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"),
    *("dynamic_degree", "aesthetic_quality", "imaging_quality"),
)
PACKAGES = Subject("By other packages", _packages, ("fvd", *(f"vbench.{name}" for name in VBENCH)))
OWN_ERROR = Subject(
    "The tracker's own error, on exact tracks",
    _own_error,
    (
        *("epe_px", "epe_median_px", "within_1px", "within_2px", "within_4px", "within_8px"),
        *(f"tap_vid_256.{name}" for name in ("average_jaccard", "delta_avg", "occlusion_accuracy")),
        "frame_ms",
    ),
    note="Every distance that a tracker measures on a generated video is to be read beside this one.",
)
BY_SPEED = Subject(
    "The tracker's error by what a point moves a frame",
    partial(_by_group, "by_speed"),
    ("share", "epe_px", "within_1px"),
)
AGAINST = ("epe_given_px", "epe_not_given_px", "not_given_over_given", "counted_share")
EVERYWHERE = ("epe_given_all_px", "not_given_over_given_all")
COUNTERFACTUAL = (
    Subject(
        "Tracks that did not happen",
        partial(_generators, ""),
        (*AGAINST, *EVERYWHERE, "leakage.leakage_px", "leakage.leakage_share"),
        (*AGAINST, *EVERYWHERE, "leakage.leakage_share"),
        note="Over movement mirrored, turned and taken from another clip. What ignores its tracks has 1 or less. "
        "Counted: places where the tracker works on the warped first frame, which favours models built on that warp; "
        "with _all: every visible place, with the tracker's own failures.",
    ),
    Subject(
        "The model, by what was given",
        partial(_by_group, "scores.model.variants"),
        (*AGAINST, *EVERYWHERE, "leakage_px", "leakage_share"),
    ),
    Subject(
        "Hidden, released and pinned points",
        partial(_generators, "sensitivity"),
        (
            *("occluded.in_place_while_hidden_share", "occluded.in_place_when_back_share"),
            *("released.stayed_where_left_share", "released.went_home_share"),
            *("pinned.pins_moved_px", "pinned.same_unpinned_moved_px", "pinned.dragged_epe_px"),
        ),
    ),
)
RECOGNISED = ("recognised", "recognised_effects", "midstream_recognised", "midstream_recognised_effects")
EFFECT = (
    *("recognised", "midstream_recognised", "epe_px", "epe_none_px", "epe_change", "epe_laid_over_px"),
    *("epe_beyond", "epe_beyond_low", "epe_beyond_high", "epe_moving_px", "epe_none_moving_px", "epe_moving_change"),
    *("tracker_epe_px", "tracker_kept_share", "tracker_kept_moving_share"),
)
TEXT = (
    Subject(
        "Does the prompt do what it says?",
        _text,
        (*RECOGNISED, "epe_none_px", "epe_change_largest", "epe_beyond_largest"),
        ("recognised", "recognised_effects", "midstream_recognised"),
        note="Shares of clips in which a probe fitted on true clips of other pictures found the effect asked for.",
    ),
    Subject("By effect", partial(_by_group, "scores.model.effects"), EFFECT),
)
SCENES = Subject(
    "Camera, scenes whose truth is known",
    _camera,
    (*SCORES, "epe_given_px", "visibility_agreement", "within_1px"),
    note="Tracks by the true and by the estimated depth, apart, so that the depth's error is not the model's.",
)
LLFF = Subject(
    "Camera, LLFF", partial(_generators, ""), ("psnr_db", "ssim", "lpips"), ("psnr_db", "ssim", "lpips"), paper.LLFF,
    f"The last frame against the photograph from the target's pose. {OTHER_DATA}",
)  # fmt: skip
LONG_TABLE = Subject(
    "Long streams: the worst of the run, beside frame 100",
    _long,
    (
        *("sharpness_vs_100", "contrast_vs_100", "saturation_vs_100", "colour_vs_100", "colour_drift_levels"),
        *("identity_vs_100", "psnr_to_first_db", "epe_px", "epe_of_standing_still_px", "memory_vs_100"),
        *("chunk_ms_p50", "chunk_ms_p95", "holds_within_5_percent"),
    ),
    ("sharpness_vs_100", "colour_vs_100", "identity_vs_100", "epe_px", "holds_within_5_percent"),
    note="1 is what it was at frame 100. The paper's figures of long video stand beside the ablations.",
)
ABLATED = (*SCORES, "chunk_ms_p50", "latency_s", "fps")
BESIDE = {
    "sink": (paper.AS_CHOSEN, paper.NO_SINK),
    "window": (paper.AS_CHOSEN, paper.UNBOUNDED),
    "chunk": (paper.AS_CHOSEN, paper.SHORT_CHUNK),
}
LATENTS = "Chunk, sink and window are latents here; the paper counts sinks and windows in chunks of three."
ABLATION = tuple(
    Subject(
        f"Ablation: {name}",
        partial(_by_group, name),
        ("w_t", "w_m", *SCORES) if name == "guidance" else ABLATED,
        paper=BESIDE.get(name, ()),
        note=f"{LATENTS} {OTHER_DATA}" if name in BESIDE else "",
    )
    for name in ABLATIONS
)
DECODER = Subject(
    "Tiny VAE",
    partial(_itself, "VAE"),
    ("psnr_db", "ssim", "lpips", "seam_ratio", "decoder_gflop", "parameters_m", "clip_decode_s"),
    ("psnr_db", "ssim", "lpips", "seam_ratio", "decoder_gflop"),
    paper.VAE,
    f"Seam ratio 1: borders of chunks cannot be told. {OTHER_DATA}",
)
LIMITED = ("clips", "psnr_pooled_db", *SCORES, "moving_psnr_db", "uncovered_psnr_db", "epe_moving_px")
LIMITS = (
    Subject(
        "What limits the model: by part",
        partial(_by_group, "by_source"),
        LIMITED,
        note="The same clips, shown by each part of the model in turn; only the look knows an effect.",
    ),
    Subject(
        "What limits the model: by part, clips without an effect",
        partial(_by_group, "by_source_without_effect"),
        LIMITED,
    ),
    Subject(
        "What limits the model: by what is shown", _by_content, ("clips", "psnr_pooled_db", "epe_px", "epe_moving_px")
    ),
)
TRICKS = Subject(
    "What each trick of the live step is worth",
    partial(_by_group, "tricks"),
    ("times.median", "times.min", "times.max", "times_process.median", "difference.max", "with_ms", "without_ms"),
    note="Time of a step without the trick over one with it, in turns: over 1, it is worth having.",
)
GESTURE = ("gesture_to_frame_ms.p50", "gesture_to_frame_ms.p95")
MOVED = ("gesture_to_moved_ms.p50", "gesture_to_moved_ms.p95")
LIVE = (
    Subject(
        "Live, driven by a recorded gesture session",
        _live,
        ("fps", "displayed_fps", "first_frame_ms", *GESTURE, *MOVED, "missed_deadlines", "latency_s"),
        ("fps", "displayed_fps", "first_frame_ms", *GESTURE, *MOVED, "missed_deadlines"),
        paper.LIVE,
        "The gesture's time is from a pointer event to the display of the first frame that knows of it.",
    ),
    Subject(
        "Live: steadiness",
        _live,
        (
            *("chunk_ms.p50", "chunk_ms.p95", "chunk_ms.p99", "settle_ms.p50", "settle_ms.p95"),
            *("last_over_first_quarter", "rss_growth", "stalled_ms", "interval_ms.p50", "interval_ms.p95"),
            *("interval_ms.p99", "underruns", "underrun_s", "step_ms.p50", "step_ms.p95", "encode_ms.p95"),
            *("drags", "drags_followed", "unanswered", "refused", "server.cores", "server.rss_mib", "viewers_cores"),
        ),
    ),
)
STEP = Subject(
    "The chunk step, part by part",
    _step,
    (
        *("ms.p50", "ms.p95", "process_ms.p50", "process_ms.p95", "device_ms.p50", "gflop"),
        *("share_of_ceiling", "share_of_ceiling_process", "fps", "calls"),
    ),
    note="The ceiling is what this machine did at the same sizes in the same run.",
)
PREDICTED = Subject(
    "Predicted speed of Wan's backbones",
    _predicted,
    ("fps", "measured.fps", "latency_s", "measured.latency_s", "call_ms", "chunk_ms"),
    note="Counted from shapes and calculated; columns that say measured are empty until `bench gpu` has run.",
)
COMPARE = (
    Subject(
        "Beside Diffusers: ratio of times",
        _ratios,
        ("median", "min", "max", "processor_time"),
        note="Over 1: ours is faster. What is compared with what: docs/latency.md.",
    ),
    Subject("Beside Diffusers: times", _forms, ("ms.p50", "ms.p95", "process_ms.p50", "device_ms.p50")),
)

KINDS = (
    Kind("Motion", "evaluate motion", lambda figures: bool(_controls(figures)), (MOTION, PACKAGES, OWN_ERROR)),
    Kind("Control", "evaluate counterfactual", _has("control", "scores", "tracker", "clips"), COUNTERFACTUAL),
    Kind("Text", "evaluate text", _has("probe", "chance"), TEXT),
    Kind("Camera, exact scenes", "evaluate camera", _has("true_depth", "estimated_depth"), (SCENES,)),
    Kind("Camera, LLFF", "evaluate camera --data LLFF", _has("by_scene", "compared_at"), (LLFF,)),
    Kind("Long video", "evaluate long", _has("curves", "every"), (LONG_TABLE,)),
    Kind("Ablations", "evaluate ablate", _ablated, ABLATION),
    Kind("VAE", "evaluate vae", _has("decoder_gflop"), (DECODER,)),
    Kind("Limits", "evaluate limits", _has("by_source", "by_content"), LIMITS),
    Kind("Tracker", "evaluate tracker", _has("tap_vid_256"), (OWN_ERROR, BY_SPEED)),
    Kind("Live", "bench live", lambda figures: any(_live(figures)), LIVE),
    Kind("Chunk step", "bench step", _has("ceiling", "denoise"), (STEP,)),
    Kind("Tricks of the step", "bench tricks", _has("tricks", "left_out"), (TRICKS,)),
    Kind("Predicted speed", "bench predict", _has("predictions", "sources"), (PREDICTED,)),
    Kind("Beside Diffusers", "bench compare", _has("ratio", "difference_float32"), COMPARE),
)
"""In the order of the report."""
