"""A table of figures, made once and written as Markdown or as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from motionstream.evaluate.reporting.results import NONE, Figures, at, text

MARKED = re.compile(r"[\\`*\[\]|]")
"""What would mean something to Markdown within a cell. An underscore within a word means nothing."""

UP, DOWN = " ↑", " ↓"  # better
UNITS = {"db": "dB", "px": "px", "ms": "ms", "s": "s", "mib": "MiB", "gflop": "GFLOP"}
LABELS = {
    "psnr_db": "PSNR, dB" + UP,
    "psnr_pooled_db": "PSNR of all, dB" + UP,
    "moving_psnr_db": "PSNR where it moves, dB" + UP,
    "uncovered_psnr_db": "PSNR of uncovered, dB" + UP,
    "psnr_to_first_db": "PSNR to the first frame, dB" + UP,
    "ssim": "SSIM" + UP,
    "lpips": "LPIPS" + DOWN,
    "epe_px": "EPE, px" + DOWN,
    "epe_moving_px": "EPE of moving, px" + DOWN,
    "epe_false_moving_px": "EPE to a false track, px",
    "epe_given_px": "EPE to tracks given, px" + DOWN,
    "epe_not_given_px": "EPE to true tracks, not given, px",
    "epe_of_standing_still_px": "EPE of standing still, px",
    "not_given_over_given": "not given over given" + UP,
    "false_ratio": "false ratio" + UP,
    "still_ratio": "still ratio" + UP,
    "tracker_kept": "tracker kept",
    "leakage.leakage_px": "leakage, px" + DOWN,
    "leakage.leakage_share": "leakage, share" + DOWN,
    "counted_share": "counted, share of places",
    "epe_given_all_px": "EPE to tracks given, all places, px" + DOWN,
    "not_given_over_given_all": "not given over given, all places" + UP,
    "leakage_px": "leakage, px" + DOWN,
    "leakage_share": "leakage, share" + DOWN,
    "recognised": "recognised" + UP,
    "recognised_effects": "of the effects" + UP,
    "midstream_recognised": "after a change midway" + UP,
    "midstream_recognised_effects": "after a change midway, of the effects" + UP,
    "epe_change": "EPE grown by, share" + DOWN,
    "epe_change_largest": "EPE grown at most by, share" + DOWN,
    "times.median": "times as long" + UP,
    "times.min": "least",
    "times.max": "most",
    "times_process.median": "of processor time",
    "difference.max": "farthest pixel of 255",
    "with_ms": "with it, ms",
    "without_ms": "without, ms",
    "epe_laid_over_px": "EPE of the frames without effect, under the true one, px" + DOWN,
    "epe_beyond": "EPE beyond that, share" + DOWN,
    "epe_beyond_low": "from, for other clips (95 %)",
    "epe_beyond_high": "to",
    "epe_beyond_largest": "EPE at most beyond what the true effect costs, share" + DOWN,
    "epe_none_px": "EPE without effect, px" + DOWN,
    "tracker_epe_px": "tracker on true clips, px",
    "sharpness_vs_100": "sharpness",
    "contrast_vs_100": "contrast",
    "saturation_vs_100": "saturation",
    "colour_vs_100": "colour",
    "identity_vs_100": "identity",
    "memory_vs_100": "memory",
    "colour_drift_levels": "colour drift, levels of 255" + DOWN,
    "holds_within_5_percent": "within 5 %",
    "within_1px": "within 1 px" + UP,
    "fps": "FPS, free running" + UP,
    "displayed_fps": "FPS shown" + UP,
    "nominal_fps": "FPS asked for",
    "latency_s": "latency, s (as the paper defines it)" + DOWN,
    "first_frame_ms": "first frame, ms" + DOWN,
    "gesture_to_frame_ms": "gesture to shown frame, ms",
    "gesture_to_moved_ms": "gesture to moved pixels, ms",
    "chunk_ms": "a chunk, ms",
    "chunk_ms_p50": "a chunk, ms, p50" + DOWN,
    "chunk_ms_p95": "a chunk, ms, p95" + DOWN,
    "missed_deadlines": "missed deadlines" + DOWN,
    "rss_growth": "growth of memory" + DOWN,
    "last_over_first_quarter": "chunk time, last quarter over first" + DOWN,
    "decoder_gflop": "decoder, GFLOP a chunk" + DOWN,
    "parameters_m": "parameters, M",
    "clip_decode_s": "decode of the clip, s" + DOWN,
    "seam_ratio": "seam ratio" + DOWN,
    "gflop": "GFLOP",
    "share_of_ceiling": "share of the ceiling" + UP,
    "w_t": "w_t",
    "w_m": "w_m",
}
"""Column → its heading; arrows show which way is better. What is not here is told in the words of its name."""


@dataclass(frozen=True)
class Line:
    """One row. quoted: it is another's figure, not ours."""

    cells: tuple[str, ...]
    quoted: bool = False


@dataclass(frozen=True)
class Table:
    """head: of every column, of which the first names the row. figures: how many columns after it hold numbers."""

    title: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    figures: int
    note: str = ""

    def markdown(self) -> str:
        """The table alone, without its title and note."""
        cells = [[marked(cell) for cell in row] for row in (self.head, *(line.cells for line in self.lines))]
        rows = [cells[0], ["---"] * len(self.head), *cells[1:]]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def html(self) -> str:
        """The table alone; a row that is quoted has the class `quoted`, a cell with a number `n`."""
        head = "".join(self._cell(index, cell, "col") for index, cell in enumerate(self.head))
        body = "\n".join(self._row(line) for line in self.lines)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def _row(self, line: Line) -> str:
        cells = "".join(self._cell(index, cell, "" if index else "row") for index, cell in enumerate(line.cells))
        return f'<tr class="quoted">{cells}</tr>' if line.quoted else f"<tr>{cells}</tr>"

    def _cell(self, column: int, cell: str, heads: str) -> str:
        """heads: "col" or "row" where the cell is the heading of one."""
        kind = ' class="n"' if 0 < column <= self.figures else ""
        return f'<th scope="{heads}"{kind}>{escape(cell)}</th>' if heads else f"<td{kind}>{escape(cell)}</td>"


@dataclass(frozen=True)
class Row:
    """What a line is made of. tail: cells after the figures."""

    name: str
    figures: Figures
    tail: tuple[str, ...] = ()
    quoted: bool = False


def table(
    title: str, rows: Sequence[Row], columns: Sequence[str], tail: tuple[str, ...] = (), note: str = "", first: str = ""
) -> Table:
    """Rows under columns, named by dotted paths into the figures; a column that no row has a value for is left out.

    tail: headings of the cells after the figures. first: heading of the names.
    """
    shown = [column for column in columns if any(text(at(row.figures, column)) != NONE for row in rows)]
    lines = [
        Line((row.name, *(text(at(row.figures, column)) for column in shown), *row.tail), row.quoted) for row in rows
    ]
    return Table(title, (first, *map(label, shown), *tail), tuple(lines), len(shown), note)


def label(column: str) -> str:
    """A column's heading: "gesture_to_frame_ms.p50" → "gesture to shown frame, ms, p50"."""
    if column in LABELS:
        return LABELS[column]
    head, dot, rest = column.partition(".")
    return f"{LABELS[head]}, {_plain(rest)}" if dot and head in LABELS else _plain(column)


def marked(words: str) -> str:
    """Words as Markdown shows them unchanged, on one line of a table."""
    return MARKED.sub(r"\\\g<0>", " ".join(words.split())).replace("&", "&amp;").replace("<", "&lt;")


def _plain(name: str) -> str:
    """ "settle_ms.p50" → "settle, ms, p50"."""
    return ", ".join(_words(part) for part in name.split("."))


def _words(part: str) -> str:
    *words, last = part.split("_")
    if last not in UNITS:
        return " ".join([*words, last])
    return ", ".join(filter(None, [" ".join(words), UNITS[last]]))
