"""Measured figures → Markdown: what stands between the README's markers is written from JSON, never by hand.

Only the few figures of each file that a reader looks for first; all of them, beside the paper's, are in the report that
`motionstream evaluate report` writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from motionstream.evaluate.reporting.report import link
from motionstream.evaluate.reporting.results import NONE, Result, missing, read
from motionstream.evaluate.reporting.subjects import headline, kind_of
from motionstream.evaluate.reporting.tables import marked

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
DOCUMENTS = (Path("README.md"), Path("src/motionstream/tiny/weights/README.md"))
"""What shows the figures; paths from the root of the repository."""
NOTHING = "No measurement has been recorded yet."
REPORT = "README.md"
"""The report's name, where there is one beside the JSON files."""


def update(document: Path, results: Path, write: bool = True) -> bool:
    """Put the figures of every JSON file in `results` between the document's markers; returns whether that changes it.

    Raises ValueError without the markers or with a file that is not JSON.
    """
    before = document.read_text(encoding="utf-8")
    after = replaced(before, markdown(results, document.parent), document)
    if write and after != before:
        document.write_text(after, encoding="utf-8")
    return after != before


def replaced(text: str, figures: str, document: Path) -> str:
    """The text with `figures` between the markers."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document}: no {BEGIN} … {END} in it; put both where the figures belong")
    return f"{head}{BEGIN}\n{figures}\n{END}{tail}"


def markdown(results: Path, beside: Path = Path()) -> str:
    """The headline of every JSON file of a folder that has one, by name, for a document in the folder `beside`."""
    found = [read(file) for file in sorted(results.glob("*.json"))]
    sections = [section(result, beside) for result in found if headline(result) or kind_of(result) is None]
    report = results / REPORT
    if sections and report.is_file():
        sections.append(
            f"All figures, beside the paper's, and what is missing: [{report.name}]({link(report, beside)})."
        )
    return "\n\n".join(sections) if sections else NOTHING


def section(result: Result, beside: Path = Path()) -> str:
    """One file: heading with a link as seen from `beside`, circumstances, headline tables, what was not measured."""
    kind = kind_of(result)
    title = kind.title if kind else result.file.stem
    heading = f"**{marked(title)}** ([{marked(result.file.name)}]({link(result.file, beside)}))"
    return "\n\n".join([heading, *_paragraphs(result)])


def _paragraphs(result: Result) -> Iterator[str]:
    circumstances = (result.model, result.conditions, result.machine, result.date)
    where = ", ".join(part for part in circumstances if part not in (NONE, ""))
    if where:
        yield marked(where)
    for table in headline(result):
        yield table.markdown()
    lacking = [each.what for each in missing(result) if not each.skipped]
    if lacking:
        yield f"Not measured: {marked(', '.join(lacking))}."
