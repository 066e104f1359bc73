"""The README's figures: one table of at most ten, all of the weights that ship, written from JSON, never by hand.

A figure of other weights is left out, not shown. Times are those of one machine, which is named; the other figures
depend on the weights alone, but for rounding.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.report.kinds import matches
from benchmarks.report.report import link, marked
from benchmarks.report.results import NONE, Figures, Result, read, text
from motionstream import zoo
from motionstream.model_folder import bundle_hash, read_header

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
DOCUMENTS = (Path("README.md"), Path("src/motionstream/tiny/weights/README.md"))
"""What shows the figures; paths from the root of the repository."""
NOTHING = "No figure of these weights has been recorded yet."
REPORT = "README.md"
"""The report's name, where there is one beside the JSON files."""


FIGURES = tomllib.loads(Path(__file__).with_name("readme.toml").read_text(encoding="utf-8"))["figure"]
LIVE, CONTRIBUTION = "live_tiny.json", "contribution_tiny.json"


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


def _row(figure: Figures, own: Mapping[str, Result], beside: Path) -> str | None:
    """One line of the table; None unless all of its numbers are of these weights."""
    result = own.get(figure["file"])
    values = {name: _value(result, path) for name, path in figure["values"].items()}
    if result is None or NONE in values.values():
        return None
    numbers = ", ".join(f"{name} {value}".strip() for name, value in values.items())
    source = f"[{marked(result.file.name)}]({link(result.file, beside)})"
    return f"| {marked(figure['what'])} | {numbers} | {figure['unit']} | {source} |"


def _value(result: Result | None, path: str) -> str:
    """A path that begins with "*." is looked for in every group of the file."""
    found = [] if result is None else [value for _, value in matches(result.figures, path)]
    return text(found[0]) if found else NONE


def _sentences(own: Mapping[str, Result], weights: str, results: Path, beside: Path) -> Iterator[str]:
    """Below the table: which weights, which machine, what the transformer contributes, where the rest is."""
    timed = f" Times: {own[LIVE].machine}, {own[LIVE].conditions}." if LIVE in own else ""
    yield f"All of the weights that ship, `{weights}`.{timed}"
    shares = [_value(own.get(CONTRIBUTION), f"drags.{drag}.share_over_2") for drag in ("large", "small")]
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
