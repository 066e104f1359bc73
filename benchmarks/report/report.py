"""The report on a folder of JSON files: ours beside the paper's, with pictures and videos, and what is missing.

It is put together once (`build`) and written twice: as Markdown, and as one page of HTML that needs no other file to
show its tables and pictures of up to `MOST_INLINE` bytes, and runs no script. Whatever comes from a file is escaped.
"""

from __future__ import annotations

import base64
import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from benchmarks.report import kinds
from benchmarks.report.kinds import KINDS, kind_of, matches
from benchmarks.report.results import NONE, Figures, Missing, Result, at, missing, read_all, scalar, text
from motionstream import console

TITLE, OTHERS, MISSING = "Figures", "Other figures", "Missing"
INTRODUCTION = (
    "Written by `make figures` from the JSON files that `motionstream evaluate`, `motionstream bench` and "
    "`python -m benchmarks` wrote; do not edit it. Rows marked “paper” are quoted from arXiv 2511.01266 and were not "
    "measured here: they are of Wan models on its own data, and only rows on the same data in the same frame can be "
    "compared. Arrows show which way is better; “–” is a figure that was not measured."
)
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
VIDEOS = (".mp4", ".webm")
MOST_INLINE = 4 << 20
MOST_GENERIC = 40  # figures shown of a file of no known kind
ABOUT = {"model", "model_hash", "machine", "date", "missing", "skipped"}
MEASURED = ("conditions", "model", "machine", "date")
"""Headings of the cells that say on what, with what, where and when a row was measured."""
PAPER, STYLE = (Path(__file__).with_name(name) for name in ("paper.csv", "page.css"))
SOURCE = "arXiv 2511.01266v5"

NEITHER = ("epe_false", "epe_not_given", "epe_of_standing", "epe_beyond_low", "epe_beyond_high", "epe_none")
LOWER = ("lpips", "epe", "leakage", "missed", "latency", "chunk_ms", "colour_", "seam_", "rss_", "first_frame")
HIGHER = ("psnr", "ssim", "ratio", "within", "recognised", "fps", "share_of_ceiling", "times")
"""How columns begin for which neither way or the lower is better, and what is in those for which the higher is."""
UNITS = {"db": "dB", "px": "px", "ms": "ms", "s": "s", "mib": "MiB", "gflop": "GFLOP", "m": "M", "levels": "of 255"}
NAMES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "epe": "EPE", "fps": "FPS", "fvd": "FVD", "rss": "memory"}
MARKED = re.compile(r"[\\`*\[\]|]")
"""What would mean something to Markdown within a cell. An underscore within a word means nothing."""


@dataclass(frozen=True)
class Row:
    """tail: cells after the figures. quoted: it is another's figure, not ours."""

    name: str
    figures: Figures
    tail: tuple[str, ...] = ()
    quoted: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under columns, dotted paths into their figures; a column that no row has is left out."""

    title: str
    rows: Sequence[Row]
    columns: Sequence[str]
    tail: tuple[str, ...] = ()
    note: str = ""

    @property
    def shown(self) -> list[str]:
        return [column for column in self.columns if any(cell(row, column) != NONE for row in self.rows)]

    @property
    def head(self) -> list[str]:
        return ["", *map(label, self.shown), *self.tail]

    def cells(self, row: Row) -> list[str]:
        return [row.name, *(cell(row, column) for column in self.shown), *row.tail]

    def markdown(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *map(self.cells, self.rows)]
        return "\n".join(f"| {' | '.join(map(marked, line))} |" for line in lines)

    def html(self) -> str:
        """A row that is quoted has the class `quoted`, a cell with a number `n`."""
        head = "".join(f'<th scope="col"{self._number(at)}>{escape(one)}</th>' for at, one in enumerate(self.head))
        body = "\n".join(self._row(row) for row in self.rows)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def _row(self, row: Row) -> str:
        name, *rest = self.cells(row)
        cells = "".join(f"<td{self._number(at)}>{escape(one)}</td>" for at, one in enumerate(rest, 1))
        return f'<tr{" class=quoted" if row.quoted else ""}><th scope="row">{escape(name)}</th>{cells}</tr>'

    def _number(self, column: int) -> str:
        return " class=n" if 0 < column <= len(self.shown) else ""


@dataclass(frozen=True)
class Section:
    """Everything of one kind of result. media: pictures and videos that belong to its files."""

    title: str
    files: Sequence[Path] = ()
    tables: Sequence[Table] = ()
    media: Sequence[Path] = ()


@dataclass(frozen=True)
class Report:
    """missing: what files name as missing, damaged files, and commands that no file is of."""

    sections: tuple[Section, ...]
    missing: tuple[Missing, ...] = ()


def build(folder: Path) -> Report:
    """The report on a folder of JSON files. Raises ValueError where there is no folder, or no such file in it."""
    results, damaged = read_all(folder)
    media = _media(folder, results)
    sections, lacking = [], [each for one in results for each in missing(one)] + damaged
    for kind in KINDS:
        own = [one for one in results if kind_of(one.figures) is kind]
        tables = [made for each in kind.tables if (made := _table(each, own)) is not None]
        if own:
            files = [one.file for one in own]
            sections.append(Section(kind.title, files, tables, [one for file in files for one in media.pop(file, [])]))
        else:
            lacking.append(Missing(NONE, kind.command, "no file of it in the folder"))
    others = [one for one in results if kind_of(one.figures) is None]
    if others or media:
        left = [file for files in media.values() for file in files]
        sections.append(Section(OTHERS, [one.file for one in others], list(map(_generic, others)), left))
    return Report(tuple(sections), tuple(lacking))


def tables(figures: Figures) -> list[Table]:
    """Those of one file, without the paper's rows."""
    kind = kind_of(figures)
    made = [Table(each.title, _rows(each, figures), each.columns) for each in kind.tables] if kind else []
    return [table for table in made if table.rows]


def show(title: str, figures: Figures) -> None:
    """The tables of one file on stdout."""
    for table in tables(figures):
        console.grid(f"{title}: {table.title}", [table.head, *map(table.cells, table.rows)])


def _rows(spec: kinds.Table, figures: Figures, tail: tuple[str, ...] = ()) -> list[Row]:
    """Of one file: every group at the table's patterns that has one of its columns."""
    itself = spec.whole or text(figures.get("model"))
    rows = [
        Row(", ".join(name.replace("_", " ") for name in names) or itself, found, tail)
        for pattern in spec.rows
        for names, found in matches(figures, pattern)
        if isinstance(found, Mapping)
    ]
    return [row for row in rows if any(cell(row, column) != NONE for column in spec.columns)]


def _table(spec: kinds.Table, results: Sequence[Result]) -> Table | None:
    """Ours, file by file, then the paper's, each row with what it was measured on, or None without ours."""
    tails = {one.file: (one.conditions, one.model, one.machine, one.date) for one in results}
    ours = [row for one in results for row in _rows(spec, one.figures, tails[one.file])]
    return Table(spec.title, [*ours, *_paper(spec.paper)], spec.columns, MEASURED, spec.note) if ours else None


def _paper(table: str) -> list[Row]:
    """The paper's rows of one table; none for ""."""
    with PAPER.open(encoding="utf-8", newline="") as file:
        return [_quoted(row) for row in csv.DictReader(file) if row["table"] == table]


def _quoted(row: dict[str, str]) -> Row:
    figures = {name: float(value) for name, value in list(row.items())[5:] if value}
    by = f"paper, {row['machine']}" if row["machine"] else "paper"
    return Row(row["name"], figures, (f"{row['conditions']}; {row['where']}", NONE, by, SOURCE), quoted=True)


def _generic(result: Result) -> Table:
    """A file of no known kind: its single figures, by dotted name; what is a list is counted."""
    named = {key: text(value) if isinstance(value, list) else value for key, value in result.figures.items()}
    figures = list(console.flat({key: value for key, value in named.items() if key not in ABOUT}))
    rows = [Row(name, {"value": value}) for name, value in figures[:MOST_GENERIC]]
    note = ", ".join(part for part in (result.model, result.machine, result.date) if part != NONE)
    return Table(result.file.name, rows, ("value",), note=note)


def _media(folder: Path, results: Sequence[Result]) -> dict[Path | None, list[Path]]:
    """Pictures and videos of a folder and of those in it, by the file whose name theirs begin with, or None."""
    found: dict[Path | None, list[Path]] = {}
    owners = sorted((one.file for one in results), key=lambda file: -len(file.stem))
    for file in sorted([*folder.glob("[!.]*"), *folder.glob("[!.]*/[!.]*")]):
        if file.is_file() and file.suffix.lower() in (*PICTURES, *VIDEOS):
            name = file.relative_to(folder).as_posix()
            found.setdefault(next((own for own in owners if name.startswith(own.stem)), None), []).append(file)
    return found


def cell(row: Row, column: str) -> str:
    """One figure for a reader; "–" for none, or for several."""
    value = at(row.figures, column)
    return text(value) if scalar(value) else NONE


def label(column: str) -> str:
    """A column's heading, with an arrow that shows which way is better: "psnr_db" → "PSNR, dB ↑"."""
    words = ", ".join(_words(part) for part in column.split("."))
    if column.startswith(NEITHER):
        return words
    if column.startswith(LOWER):
        return words + " ↓"
    return words + " ↑" * any(word in column for word in HIGHER)


def _words(part: str) -> str:
    *words, last = part.split("_")
    named = [NAMES.get(word, word) for word in (words if last in UNITS and words else [*words, last])]
    return " ".join(named) + (f", {UNITS[last]}" if last in UNITS and words else "")


def marked(words: str) -> str:
    """Words as Markdown shows them unchanged, on one line of a table."""
    return MARKED.sub(r"\\\g<0>", " ".join(words.split())).replace("&", "&amp;").replace("<", "&lt;")


def link(file: Path, beside: Path) -> str:
    """The address of a file as seen from the folder `beside`, with / on every system."""
    return quote(Path(os.path.relpath(file, beside)).as_posix())


def _lacking(report: Report) -> Table | None:
    """What was not measured, was skipped or cannot be read; None where nothing is missing."""
    rows = [Row(file, {}, (what, why)) for file, what, why in map(astuple, report.missing)]
    return Table(MISSING, rows, (), ("what", "why")) if rows else None


def markdown(report: Report, beside: Path = Path()) -> str:
    """The report as Markdown for a file in the folder `beside`."""
    return "\n\n".join(_paragraphs(report, beside)) + "\n"


def _paragraphs(report: Report, beside: Path) -> Iterator[str]:
    def linked(file: Path) -> str:
        return f"[{marked(file.name)}]({link(file, beside)})"

    yield f"# {TITLE}"
    yield INTRODUCTION
    for section in report.sections:
        yield f"## {section.title}"
        if section.files:
            yield f"From {', '.join(map(linked, section.files))}."
        for table in section.tables:
            yield from filter(None, (f"### {marked(table.title)}", marked(table.note), table.markdown()))
        yield from (f"{'!' * (file.suffix.lower() in PICTURES)}{linked(file)}" for file in section.media)
    lacking = _lacking(report)
    if lacking is not None:
        yield f"## {MISSING}"
        yield lacking.markdown()


def html(report: Report, beside: Path = Path()) -> str:
    """The page, for a file in the folder `beside`."""
    return "\n".join(_page(report, beside)) + "\n"


def _page(report: Report, beside: Path) -> Iterator[str]:
    lacking = _lacking(report)
    sections = [*report.sections, *([Section(MISSING, tables=[lacking])] if lacking else [])]
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>MotionStream: {TITLE}</title>\n<style>{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>"
    yield f"<h1>MotionStream: {TITLE}</h1>"
    yield "<p>" + re.sub("`(.+?)`", r"<code>\1</code>", escape(INTRODUCTION)) + "</p>"
    yield "<nav>" + "".join(f'<a href="#{at}">{escape(one.title)}</a>' for at, one in enumerate(sections)) + "</nav>"
    for number, section in enumerate(sections):
        yield f'<h2 id="{number}">{escape(section.title)}</h2>'
        links = "".join(f'<a href="{escape(link(file, beside))}">{escape(file.name)}</a>' for file in section.files)
        yield f'<p class="files">{links}</p>'
        for table in section.tables:
            yield f'<h3>{escape(table.title)}</h3>\n<p class="note">{escape(table.note)}</p>'
            yield f'<div class="wide">{table.html()}</div>'
        yield from (_shown(file, beside) for file in section.media)
    yield "</body>\n</html>"


def _shown(file: Path, beside: Path) -> str:
    """A picture or a video; a picture that is small enough is in the page."""
    kind, name, source = PICTURES.get(file.suffix.lower()), escape(file.name), escape(link(file, beside))
    if kind is None:
        media = f'<video src="{source}" controls loop muted playsinline preload="metadata"></video>'
    else:
        if file.stat().st_size <= MOST_INLINE:
            source = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
        media = f'<img src="{source}" alt="{name}" loading="lazy">'
    return f"<figure>{media}<figcaption>{name}</figcaption></figure>"
