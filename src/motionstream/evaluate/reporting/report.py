"""The report: all figures of a folder, ours beside the paper's, with pictures and videos, and what is missing.

It is put together once (`build`) and written twice: as Markdown here, as one page of HTML in `page.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from motionstream.evaluate.reporting.results import Damaged, Missing, Result, missing, read_all
from motionstream.evaluate.reporting.subjects import KINDS, Kind, generic, kind_of
from motionstream.evaluate.reporting.tables import Row as TableRow
from motionstream.evaluate.reporting.tables import Table, marked, table

TITLE = "Figures"
OTHERS, MISSING = "Other figures", "Missing"
INTRODUCTION = (
    "Written by `motionstream evaluate report` from the JSON files that `motionstream evaluate` and "
    "`motionstream bench` wrote; do not edit it. Rows marked “paper” are quoted from arXiv 2511.01266 and were not "
    "measured here. "
    "Arrows say which way is better; “–” is a figure that was not measured."
)
PICTURES, VIDEOS = {".png", ".jpg", ".jpeg", ".webp"}, {".mp4", ".webm"}


@dataclass(frozen=True)
class Section:
    """What is said of one kind of result. pictures, videos: that belong to its files."""

    title: str
    files: tuple[Path, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Report:
    """missing: what files say they lack. damaged: files that could not be read. not_run: commands of no file."""

    sections: tuple[Section, ...]
    missing: tuple[Missing, ...] = ()
    damaged: tuple[Damaged, ...] = ()
    not_run: tuple[str, ...] = ()

    def counts(self) -> list[tuple[str, str]]:
        """How much of each there is, for people."""
        counted = {
            "files": sum(len(section.files) for section in self.sections),
            "tables": sum(len(section.tables) for section in self.sections),
            "pictures": sum(len(section.pictures) for section in self.sections),
            "videos": sum(len(section.videos) for section in self.sections),
            "missing": len(self.missing),
            "damaged": len(self.damaged),
            "not run": len(self.not_run),
        }
        return [(name, str(count)) for name, count in counted.items()]


@dataclass
class _Media:
    """Pictures and videos of a folder, and of those in it, each given away once."""

    folder: Path
    left: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        found = [*self.folder.glob("[!.]*"), *self.folder.glob("[!.]*/[!.]*")]
        self.left = sorted(file for file in found if file.suffix.lower() in PICTURES | VIDEOS and file.is_file())

    def of(self, results: Sequence[Result], others: Sequence[Result]) -> list[Path]:
        """Those whose name begins with a file's, unless that of another file says more."""
        stems = {result.file.stem for result in results}
        longest = sorted({*stems, *(result.file.stem for result in others)}, key=len, reverse=True)
        taken = [file for file in self.left if self._owner(file, longest) in stems]
        self.left = [file for file in self.left if file not in taken]
        return taken

    def _owner(self, file: Path, stems: Sequence[str]) -> str | None:
        name = file.relative_to(self.folder).as_posix()
        return next((stem for stem in stems if name.startswith(stem)), None)


def build(folder: Path) -> Report:
    """The report on a folder of JSON files. Raises ValueError where there is no folder, or no such file in it."""
    results, damaged = read_all(folder)
    media = _Media(folder)
    kinds = [(kind, [one for one in results if kind_of(one) is kind]) for kind in KINDS]
    sections = [_section(kind, own, media.of(own, results)) for kind, own in kinds if own]
    unknown = [one for one in results if kind_of(one) is None]
    if unknown or media.left:
        files = tuple(one.file for one in unknown)
        sections.append(Section(OTHERS, files, tuple(map(generic, unknown)), *_parted(media.left)))
    return Report(
        tuple(sections),
        tuple(each for one in results for each in missing(one)),
        tuple(damaged),
        tuple(f"motionstream {kind.command}" for kind, own in kinds if not own),
    )


def _section(kind: Kind, results: Sequence[Result], media: Sequence[Path]) -> Section:
    tables = (subject.table(results) for subject in kind.subjects)
    files = tuple(one.file for one in results)
    return Section(kind.title, files, tuple(one for one in tables if one is not None), *_parted(media))


def _parted(media: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Pictures and videos."""
    pictures = tuple(file for file in media if file.suffix.lower() in PICTURES)
    return pictures, tuple(file for file in media if file not in pictures)


def missing_table(report: Report) -> Table | None:
    """What was not measured, skipped or cannot be read; None where nothing is missing."""
    told = [(each.file.name, each.what, each.why) for each in report.missing]
    told += [(each.file.name, "the file", f"damaged: {each.reason}") for each in report.damaged]
    told += [("–", command, "no file of it in the folder") for command in report.not_run]
    rows = [TableRow(file, {}, (what, why)) for file, what, why in told]
    return table(MISSING, rows, (), ("what", "why"), first="file") if rows else None


def markdown(report: Report, beside: Path = Path()) -> str:
    """The report as Markdown for a file in the folder `beside`."""
    return "\n\n".join(_paragraphs(report, beside)) + "\n"


def _paragraphs(report: Report, beside: Path) -> Iterator[str]:
    yield f"# {TITLE}"
    yield INTRODUCTION
    for section in report.sections:
        yield f"## {section.title}"
        if section.files:
            yield f"From {', '.join(_reference(file, beside) for file in section.files)}."
        for one in section.tables:
            yield f"### {marked(one.title)}"
            yield from filter(None, (marked(one.note), one.markdown()))
        yield from (f"!{_reference(file, beside)}" for file in section.pictures)
        if section.videos:
            yield f"Videos: {', '.join(_reference(file, beside) for file in section.videos)}."
    lacking = missing_table(report)
    if lacking is not None:
        yield f"## {MISSING}"
        yield lacking.markdown()


def _reference(file: Path, beside: Path) -> str:
    return f"[{marked(file.name)}]({link(file, beside)})"


def link(file: Path, beside: Path) -> str:
    """The address of a file as seen from the folder `beside`, with / on every system."""
    return quote(Path(os.path.relpath(file, beside)).as_posix())
