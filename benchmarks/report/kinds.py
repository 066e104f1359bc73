"""What each kind of file holds: the command that writes it, and which of its figures make which table.

A kind is recognised by what is in a file, not by its name. Whatever is not where it is expected is left out.

A pattern is a dotted path in which "*" stands for any name and "a|b" for either: `scores.model|warp` are two groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.report.results import Figures


@dataclass(frozen=True)
class Table:
    """rows: patterns of the groups of figures that make a row each, named by what the pattern left open; "" is the file
    itself, named `whole`, or as its model is. columns: dotted paths in a group. paper: the paper's rows below ours.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    paper: str = ""
    note: str = ""
    whole: str = ""


@dataclass(frozen=True)
class Kind:
    """command: what writes such files. keys: patterns, each of which must match something in a file of this kind."""

    title: str
    command: str
    keys: tuple[str, ...]
    tables: tuple[Table, ...]

    def of(self, figures: Figures) -> bool:
        return all(any(matches(figures, key)) for key in self.keys)


def kind_of(figures: Figures) -> Kind | None:
    """The kind of a file, or None where it is none of ours."""
    return next((kind for kind in KINDS if kind.of(figures)), None)


def matches(figures: Figures, pattern: str) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value at a pattern, with the names that it left open."""
    if not pattern:
        yield (), figures
        return
    head, _, rest = pattern.partition(".")
    names = list(figures) if head == "*" else head.split("|")
    for name in names:
        if name in figures:
            inner, open_ = figures[name], () if name == head else (name,)
            if not rest:
                yield open_, inner
            elif isinstance(inner, Mapping):
                yield from (((*open_, *more), value) for more, value in matches(inner, rest))


OTHER_DATA = (
    "The paper's rows are of Wan models on its own data; ours name theirs. Only rows on the same data in the same "
    "frame can be compared figure by figure."
)
LATENTS = "Chunk, sink and window are latents here; the paper counts sinks and windows in chunks of three."
SCORES = ("psnr_db", "ssim", "lpips", "epe_px")
MOTION = (
    *(*SCORES, "epe_moving_px", "epe_false_moving_px", "false_ratio", "tracker_kept"),
    *("psnr_pooled_db", "moving_psnr_db", "uncovered_psnr_db"),
)
ERROR = (
    *("epe_px", "epe_median_px", "within_1px", "within_2px", "within_4px", "within_8px"),
    *(f"tap_vid_256.{name}" for name in ("average_jaccard", "delta_avg", "occlusion_accuracy")),
    "frame_ms",
)
OWN_ERROR = "Every distance that a tracker measures on a generated video is to be read beside this one."
VBENCH = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"),
    *("dynamic_degree", "aesthetic_quality", "imaging_quality"),
)
CONTROL = (
    *("epe_given_px", "epe_not_given_px", "control_ratio", "counted_share", "epe_given_all_px", "control_ratio_all"),
    *("leakage.leakage_px", "leakage.leakage_share", "leakage_px", "leakage_share"),
)
LONG = (
    *("sharpness_vs_100", "contrast_vs_100", "saturation_vs_100", "colour_vs_100", "colour_drift_levels"),
    *("identity_vs_100", "psnr_to_first_db", "epe_px", "epe_of_standing_still_px", "memory_vs_100"),
    *("chunk_ms_p50", "chunk_ms_p95", "holds_within_5_percent"),
)
ABLATIONS = ("sink", "window", "chunk", "steps", "tracks", "guidance")
LIMITS = ("clips", "psnr_pooled_db", *SCORES, "moving_psnr_db", "uncovered_psnr_db", "epe_moving_px")
LIVE = (
    *("fps", "displayed_fps", "first_frame_ms", "first_frame_ms.p50"),
    *(f"{name}.{part}" for name in ("gesture_to_frame_ms", "gesture_to_moved_ms") for part in ("p50", "p95")),
    *("missed_deadlines", "latency_s"),
)
STEADY = (
    *("chunk_ms.p50", "chunk_ms.p95", "chunk_ms.p99", "settle_ms.p50", "settle_ms.p95"),
    *("last_over_first_quarter", "rss_growth", "stalled_ms", "interval_ms.p50", "interval_ms.p95"),
    *("interval_ms.p99", "underruns", "underrun_s", "step_ms.p50", "step_ms.p95", "encode_ms.p95"),
    *("drags", "drags_followed", "unanswered", "refused", "server.cores", "server.rss_mib", "viewers_cores"),
)
TIMES = ("ms.p50", "ms.p95", "process_ms.p50", "process_ms.p95", "device_ms.p50")

KINDS = (
    Kind(
        "Motion",
        "motionstream evaluate motion",
        ("*.still_ratio",),
        (
            Table(
                "Motion transfer", ("*.model|warp|still",), MOTION, "motion",
                "EPE: mean distance between visible tracks given and tracks found again. False ratio: how many times "
                f"worse the metric finds a false track, on points that move. {OTHER_DATA}",
            ),
            Table(
                "By control", ("*",), ("points", "still_ratio"),
                note="Still ratio: how many times worse standing still is than the model, on points that move.",
            ),
            Table("By other packages", ("",), ("fvd.value", *(f"vbench.{name}" for name in VBENCH)), whole="model"),
            Table("The tracker's own error, on exact tracks", ("tracker",), ERROR, note=OWN_ERROR, whole="tracker"),
        ),
    ),
    Kind(
        "Control",
        "python -m benchmarks counterfactual",
        ("control", "scores.*", "tracker", "clips"),
        (
            Table(
                "Tracks that did not happen", ("scores.model|warp|still",), CONTROL,
                note="Over movement mirrored and turned. Control ratio: distance to the true tracks, which were not "
                "given, over distance to those given; a model that ignores its tracks has 1 or less. Counted: places "
                "where the tracker works on the warped first frame, which favours models built on that warp; all: "
                "every visible place, with the tracker's own failures.",
            ),
            Table("The model, by what was given", ("scores.model.variants.*",), CONTROL),
            Table(
                "Hidden, released and pinned points", ("scores.model|warp|still.sensitivity",),
                (
                    *("occluded.in_place_while_hidden_share", "occluded.in_place_when_back_share"),
                    *("released.stayed_where_left_share", "released.went_home_share"),
                    *("pinned.pins_moved_px", "pinned.same_unpinned_moved_px", "pinned.dragged_epe_px"),
                ),
            ),
        ),
    ),
    Kind(
        "Text",
        "motionstream evaluate text",
        ("probe", "chance"),
        (
            Table(
                "Does the video show what the prompt asks for?", ("scores.model|warp|still", "probe"),
                (
                    *("recognised", "recognised_effects", "midstream_recognised", "midstream_recognised_effects"),
                    *("epe_none_px", "epe_change_largest", "epe_beyond_largest"),
                ),
                note="Shares of clips in which a probe fitted on true clips of other pictures found the effect asked "
                "for; by chance one in eight. Probe: its accuracy on true clips.",
                whole="probe",
            ),
            Table(
                "By effect", ("scores.model.effects.*",),
                (
                    *("recognised", "midstream_recognised", "epe_px", "epe_none_px", "epe_change", "epe_laid_over_px"),
                    *("epe_beyond", "epe_beyond_low", "epe_beyond_high", "epe_moving_px", "epe_none_moving_px"),
                    *("epe_moving_change", "tracker_epe_px", "tracker_kept_share", "tracker_kept_moving_share"),
                ),
            ),
        ),
    ),
    Kind(
        "Camera, exact scenes",
        "motionstream evaluate camera",
        ("true_depth", "estimated_depth"),
        (
            Table(
                "Camera, scenes whose truth is known",
                ("true_depth|estimated_depth.model|warp|still", "still|tracker", "tracks.*"),
                (*SCORES, "epe_given_px", "visibility_agreement", "within_1px"),
                note="Tracks by the true and by the estimated depth, apart, so that the depth's error is not the "
                "model's.",
            ),
        ),
    ),
    Kind(
        "Camera, LLFF",
        "python -m benchmarks llff",
        ("by_scene", "compared_at"),
        (
            Table(
                "Camera, LLFF", ("scores.model|warp|still",), SCORES[:3], "llff",
                f"The last frame against the photograph from the target's pose. {OTHER_DATA}",
            ),
        ),
    ),
    Kind(
        "Long video",
        "motionstream evaluate long",
        ("curves", "every"),
        (
            Table(
                "Long streams: the worst of the run, beside frame 100", ("*.*",), LONG,
                note="1 is what it was at frame 100. The paper's figures of long video stand beside the ablations.",
            ),
        ),
    ),
    Kind(
        "Ablations",
        "python -m benchmarks ablation",
        (f"{'|'.join(ABLATIONS)}.*.psnr_db",),
        tuple(
            Table(
                f"Ablation: {name}",
                (f"{name}.*",),
                ("w_t", "w_m", *SCORES) if name == "guidance" else (*SCORES, "chunk_ms_p50", "latency_s", "fps"),
                name,
                f"{LATENTS} {OTHER_DATA}" if name in ABLATIONS[:3] else "",
            )
            for name in ABLATIONS
        ),
    ),
    Kind(
        "VAE",
        "python -m benchmarks vae",
        ("decoder_gflop",),
        (
            Table(
                "Tiny VAE", ("",),
                ("psnr_db", "ssim", "lpips", "seam_ratio", "decoder_gflop", "parameters_m", "clip_decode_s"), "vae",
                f"Seam ratio 1: borders of chunks cannot be seen. {OTHER_DATA}", "VAE",
            ),
        ),
    ),
    Kind(
        "Limits",
        "python -m benchmarks limits",
        ("by_source", "by_content"),
        (
            Table(
                "What limits the model: by part", ("by_source.*",), LIMITS,
                note="The same clips, made by more and more of the model; only the prompt filter makes an effect.",
            ),
            Table("What limits the model: by part, clips without an effect", ("by_source_without_effect.*",), LIMITS),
            Table(
                "What limits the model: by what is shown", ("by_content.*.*",),
                ("clips", "psnr_pooled_db", "epe_px", "epe_moving_px"),
            ),
        ),
    ),
    Kind(
        "Contribution of the transformer",
        "python -m benchmarks contribution",
        ("drags",),
        (
            Table(
                "Pixel values that the transformer changes", ("drags.*",),
                ("share_over_0", "share_over_2", "share_over_8", "mean_levels"),
                note="The model beside itself with the transformer's output set to 0 (the warped anchor through VAE "
                "and detail): shares of values that differ by more than 0, 2 and 8 of 255 levels.",
            ),
        ),
    ),
    Kind(
        "Tracker",
        "python -m benchmarks tracker",
        ("tap_vid_256",),
        (
            Table("The tracker's own error, on exact tracks", ("",), ERROR, note=OWN_ERROR),
            Table(
                "The tracker's error by what a point moves a frame", ("by_speed.*",), ("share", "epe_px", "within_1px")
            ),
        ),
    ),
    Kind(
        "Live",
        "motionstream bench live",
        ("gesture_to_frame_ms|viewers",),
        (
            Table(
                "Live, driven by a recorded session", ("", "viewers.*"), LIVE, "live",
                "A gesture's time is from a pointer event to the display of the first frame that follows it.",
                "in this process",
            ),
            Table("Live: steadiness", ("", "viewers.*"), STEADY, whole="in this process"),
        ),
    ),
    Kind(
        "Chunk step",
        "bench step",
        ("ceiling", "denoise"),
        (
            Table(
                "The chunk step, part by part", ("step|condition|denoise|decode|commit", ""),
                (*TIMES, "gflop", "share_of_ceiling", "share_of_ceiling_process", "fps", "calls"),
                note="The ceiling is what this machine did at the same sizes in the same run.",
            ),
        ),
    ),
    Kind(
        "Optimisations of the step",
        "bench tricks",
        ("tricks", "left_out"),
        (
            Table(
                "What each optimisation of the live step is worth", ("tricks.*",),
                (
                    *("times.median", "times.min", "times.max", "times_process.median", "difference.max"),
                    *("with_ms", "without_ms"),
                ),
                note="Time of a step without it over one with it, in paired rounds: over 1, it is worth having.",
            ),
        ),
    ),
    Kind(
        "Predicted speed",
        "bench predict",
        ("predictions", "sources"),
        (
            Table(
                "Predicted speed of Wan's backbones", ("predictions.*.machines.*",),
                ("fps", "latency_s", "call_ms", "chunk_ms"),
                note="Counted from shapes and calculated.",
            ),
            Table("Measured", ("measured.*",), ("fps", "latency_s", "call_ms", "chunk_ms")),
        ),
    ),
    Kind(
        "Beside Diffusers",
        "bench compare",
        ("ratio", "difference_float32"),
        (
            Table(
                "Beside Diffusers: ratio of times", ("ratio.*",), ("median", "min", "max"),
                note="Over 1: ours is faster. What is compared with what: docs/latency.md.",
            ),
            Table("Beside Diffusers: ratio of processor times", ("ratio_process.*",), ("median",)),
            Table("Beside Diffusers: times", ("*",), TIMES),
        ),
    ),
)  # fmt: skip
"""In the order of the report."""
