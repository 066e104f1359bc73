"""The README's figures: one table of at most ten, all of the weights that ship, written from JSON, never by hand.

A figure of other weights is left out, not shown. Times are those of one machine, which is named; the other figures
depend on the weights alone, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report.report import link, marked
from benchmarks.report.results import NONE, Result, at, read, text
from motionstream import zoo
from motionstream.model_folder import bundle_hash, read_header

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
DOCUMENTS = (Path("README.md"), Path("src/motionstream/tiny/weights/README.md"))
"""What shows the figures; paths from the root of the repository."""
NOTHING = "No figure of these weights has been recorded yet."
REPORT = "README.md"
"""The report's name, where there is one beside the JSON files."""


@dataclass(frozen=True)
class Figure:
    """One row. values: what each number is called ("" for one that needs no name) → file and dotted path in it."""

    what: str
    unit: str
    values: dict[str, tuple[str, str]]


def _one(what: str, unit: str, file: str, path: str) -> Figure:
    return Figure(what, unit, {"": (file, path)})


MOTION, LIVE = "motion_tiny.json", "live_tiny.json"
FIGURES = (
    *(
        _one(f"From the tracks given to where things went (EPE), {name}", "px ↓", MOTION, f"{key}.model.epe_px")
        for name, key in (("all points", "dense"), ("20 points", "20"), ("one object", "object"))
    ),
    _one(
        "Control ratio: distance to the true tracks, which were not given, over that to those given", "times ↑",
        "counterfactual_tiny.json", "scores.model.control_ratio",
    ),
    Figure(
        "Likeness to the true clip (PSNR); the picture warped along the tracks, without a network", "dB ↑",
        {"model": (MOTION, "dense.model.psnr_db"), "warp": (MOTION, "dense.warp.psnr_db")},
    ),
    _one("Frames a second that it can make, while a hand drags", "FPS ↑", LIVE, "fps"),
    _one("From the hand's move to the frame that shows it, 95 % within", "ms ↓", LIVE, "gesture_to_frame_ms.p95"),
    _one(
        "Colour drift in a long stream while a hand moves, largest", "of 255 ↓",
        "long_tiny.json", "*.moving.colour_drift_levels",
    ),
    _one(
        "Prompted effects that a classifier recognises; by chance 1 in 8", "share ↑",
        "text_tiny.json", "scores.model.recognised_effects",
    ),
    _one("Likeness of a true clip through the VAE (PSNR)", "dB ↑", "vae_tiny.json", "psnr_db"),
)  # fmt: skip
CONTRIBUTION = "contribution_tiny.json"


def shipped_hash() -> str:
    """Of the embedded model's weights."""
    return bundle_hash(read_header(zoo.embedded("tiny")))


def update(document: Path, results: Path, write: bool = True) -> bool:
    """Put the table between the document's markers; returns whether that changes it.

    Raises ValueError without the markers or with a file that is not JSON.
    """
    before = document.read_text(encoding="utf-8")
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document}: no {BEGIN} … {END} in it; put both where the figures belong")
    after = f"{head}{BEGIN}\n{markdown(results, document.parent)}\n{END}{tail}"
    if write and after != before:
        document.write_text(after, encoding="utf-8")
    return after != before


def markdown(results: Path, beside: Path = Path(), weights: str | None = None) -> str:
    """The table from a folder of JSON files, for a document in the folder `beside`. weights: the shipped ones' hash."""
    weights = weights or shipped_hash()
    found = [read(file) for file in sorted(results.glob("*.json"))]
    own = {result.file.name: result for result in found if result.hash == weights}
    rows = [row for figure in FIGURES if (row := _row(figure, own, beside)) is not None]
    if not rows:
        return NOTHING
    lines = ["| measured | figure | unit | from |", "| --- | --- | --- | --- |", *rows]
    return "\n\n".join(["\n".join(lines), *_sentences(own, weights, results, beside)])


def _row(figure: Figure, own: dict[str, Result], beside: Path) -> str | None:
    """One line of the table; None unless all of its numbers are of these weights."""
    values = {name: _value(own, *where) for name, where in figure.values.items()}
    if NONE in values.values():
        return None
    told = ", ".join(f"{name} {value}".strip() for name, value in values.items())
    file = own[next(iter(figure.values.values()))[0]].file
    return f"| {marked(figure.what)} | {told} | {figure.unit} | [{marked(file.name)}]({link(file, beside)}) |"


def _value(own: dict[str, Result], file: str, path: str) -> str:
    """A path that begins with "*." is looked for in every group of the file."""
    if file not in own:
        return NONE
    figures = own[file].figures
    if not path.startswith("*."):
        return text(at(figures, path))
    groups = [value for value in figures.values() if isinstance(value, dict)]
    return next((text(at(group, path[2:])) for group in groups if at(group, path[2:]) is not None), NONE)


def _sentences(own: dict[str, Result], weights: str, results: Path, beside: Path) -> Iterator[str]:
    """Below the table: which weights, which machine, what the transformer contributes, where the rest is."""
    timed = f" Times: {own[LIVE].machine}, {own[LIVE].conditions}." if LIVE in own else ""
    yield f"All of the weights that ship, `{weights}`.{timed}"
    shares = [_value(own, CONTRIBUTION, f"drags.{drag}.share_over_2") for drag in ("large", "small")]
    if NONE not in shares:
        large, small = (f"{100 * float(one):.2g} %" if float(one) >= 0.001 else "under 0.1 %" for one in shares)
        yield (
            f"What the transformer contributes: with its output set to 0, so that the warped anchor alone is shown, "
            f"{large} of the pixel values change by more than 2 of 255 on a large drag, {small} on a small one "
            f"([{marked(CONTRIBUTION)}]({link(own[CONTRIBUTION].file, beside)}))."
        )
    report = results / REPORT
    if report.is_file():
        yield f"All figures, beside the paper's, and what is missing: [{report.name}]({link(report, beside)})."
