"""The report as one page of HTML: no other file is needed to read its tables and see its pictures, no script runs.

Pictures up to `MOST_INLINE` bytes are in the page; larger ones, and videos, are linked from where they lie. Light or
dark as the reader's system is. Whatever comes from a file is escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from motionstream.evaluate.reporting.report import INTRODUCTION, MISSING, TITLE, Report, Section, link, missing_table
from motionstream.evaluate.reporting.tables import Table

MOST_INLINE = 4 << 20
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #ffffff; --soft: #6b6b70; --line: #d9d9de; --tint: #f3f1ea; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --paper: #17171a; --soft: #9a9aa2; --line: #38383e; --tint: #26241d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 110rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
p { max-width: 60rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }
a { color: inherit; }
.files, .note, figcaption { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { vertical-align: bottom; font-weight: 600; min-width: 4.5rem; }
tbody th { font-weight: 500; white-space: nowrap; position: sticky; left: 0; background: var(--paper); }
tbody tr.quoted > * { background: var(--tint); }
.n { text-align: right; font-variant-numeric: tabular-nums; }
td:not(.n) { min-width: 9rem; color: var(--soft); }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; }
.videos { display: flex; flex-wrap: wrap; gap: 1rem; }
.videos figure { margin: 0; flex: 1 1 26rem; max-width: 50rem; }
video { width: 100%; }
"""


def html(report: Report, beside: Path = Path()) -> str:
    """The page, for a file in the folder `beside`."""
    return "\n".join(_lines(report, beside)) + "\n"


def _lines(report: Report, beside: Path) -> Iterator[str]:
    lacking = missing_table(report)
    titles = [section.title for section in report.sections] + ([MISSING] if lacking else [])
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>MotionStream: {escape(TITLE)}</title>\n<style>{STYLE}</style>\n</head>\n<body>"
    yield f"<h1>MotionStream: {escape(TITLE)}</h1>"
    yield f"<p>{_with_code(INTRODUCTION)}</p>"
    yield "<nav>" + "".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title in titles) + "</nav>"
    for section in report.sections:
        yield from _section(section, beside)
    if lacking is not None:
        yield from (_heading(MISSING), _wide(lacking))
    yield "</body>\n</html>"


def _section(section: Section, beside: Path) -> Iterator[str]:
    yield _heading(section.title)
    if section.files:
        links = (f'<a href="{escape(link(file, beside))}">{escape(file.name)}</a>' for file in section.files)
        yield f'<p class="files">From {", ".join(links)}</p>'
    for table in section.tables:
        yield f"<h3>{escape(table.title)}</h3>"
        if table.note:
            yield f'<p class="note">{escape(table.note)}</p>'
        yield _wide(table)
    yield from (_picture(file, beside) for file in section.pictures)
    if section.videos:
        yield f'<div class="videos">{"".join(_video(file, beside) for file in section.videos)}</div>'


def _heading(title: str) -> str:
    return f'<h2 id="{_anchor(title)}">{escape(title)}</h2>'


def _with_code(words: str) -> str:
    """Words escaped, with what stands between backticks as code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(words))


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())


def _wide(table: Table) -> str:
    """A table that scrolls sideways where the window is narrow."""
    return f'<div class="wide">{table.html()}</div>'


def _picture(file: Path, beside: Path) -> str:
    source = escape(_inline(file) or link(file, beside))
    name = escape(file.name)
    return f'<figure><img src="{source}" alt="{name}" loading="lazy"><figcaption>{name}</figcaption></figure>'


def _inline(file: Path) -> str | None:
    """The picture itself as an address, None where it is too large for that."""
    if file.stat().st_size > MOST_INLINE:
        return None
    return f"data:{TYPES[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def _video(file: Path, beside: Path) -> str:
    name = escape(file.name)
    source = escape(link(file, beside))
    return (
        f'<figure><video src="{source}" controls loop muted playsinline preload="metadata"></video>'
        f"<figcaption>{name}</figcaption></figure>"
    )
