"""The report shows what was measured beside the paper's, says what is missing, and lets nothing through unescaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.__main__ import app
from benchmarks.ablation.settings import RECIPES
from benchmarks.report import kinds, report
from benchmarks.report.results import Result, read
from motionstream import cli, errors
from motionstream.evaluate import stream_figures
from motionstream.evaluate.harness import table
from motionstream.evaluate.live.simulated_viewer import Measures
from motionstream.evaluate.scores import figures_of

ROOT = Path(__file__).parents[3]
STAMP: dict[str, Any] = {
    "model": "tiny",
    "model_hash": "0123456789abcdef",
    "machine": {"processor": "Some CPU", "cores": 2, "gpu": "none", "torch": "2.13.0"},
    "date": "2026-01-02",
}
SCORES = {"psnr_db": 20.5, "ssim": 0.75, "epe_px": 3.25, "epe_moving_px": 5.5, "false_ratio": 4.0}
GENERATORS = {"model": SCORES, "warp": SCORES, "still": {**SCORES, "epe_px": None}}
AGAINST = {"epe_given_px": 2.0, "epe_not_given_px": 7.0, "control_ratio": 3.5, "counted_share": 0.25}
CONTROLLED = {**AGAINST, "variants": {"mirrored": AGAINST}, "sensitivity": {"pinned": {"pins_moved_px": 0.5}}}
TIMES = {"ms": {"p50": 60.0, "p95": 70.0}, "process_ms": {"p50": 100.0, "p95": 110.0}}
PERCENTILES = {"p50": 150.0, "p95": 240.0}
SETTING = {"epe_px": 2.0, "lpips": 0.25, "psnr_db": 25.0, "ssim": 0.75, "chunk_ms_p50": 60.0}

MOTION = {
    **STAMP,
    "data": "worlds",
    "clips": 2,
    "size": "256x144",
    "metrics_size": "256x144",
    "tracker": {"clips": 2, "epe_px": 0.125, "within_1px": 0.875},
    "dense": {"clips": 2, **GENERATORS, "still_ratio": 6.25},
    "5": {"clips": 2, **GENERATORS, "still_ratio": 5.25},
    "per_clip": [{"name": "secret-clip", "control": "dense"}],
    "missing": ["lpips", "vbench.motion_smoothness"],
    "skipped": [{"name": f"clip-{n}", "reason": "2 frames, fewer than a chunk"} for n in range(10)],
}
LIVE = {**STAMP, "fps": 31.41592, "first_frame_ms": 110.0, "gesture_to_frame_ms": PERCENTILES, "missed_deadlines": 3}
SERVED = {
    **STAMP,
    "through": "server",
    "viewers": {"2": {"displayed_fps": 23.5, "first_frame_ms": PERCENTILES, "gesture_to_moved_ms": PERCENTILES}},
}
EXAMPLES: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "motion": ("motionstream evaluate motion", MOTION, "| 5, model | 20.5 | 0.75 | – | 3.25 |"),
    "counterfactual": (
        "python -m benchmarks counterfactual",
        {**STAMP, "control": "object", "clips": 2, "tracker": {}, "scores": {"model": CONTROLLED}},
        "| model | 2 | 7 | 3.5 | 0.25 | control object, 2 clips | tiny 0123456789ab |",
    ),
    "text": (
        "motionstream evaluate text",
        {**STAMP, "chance": 0.125, "probe": {"recognised": 0.9}, "scores": {"model": {"recognised": 0.5}}},
        "| probe | 0.9 |",
    ),
    "camera": (
        "motionstream evaluate camera",
        {**STAMP, "true_depth": GENERATORS, "estimated_depth": GENERATORS, "still": SCORES, "tracks": {}},
        "| estimated depth, model | 20.5 |",
    ),
    "llff": (
        "python -m benchmarks llff",
        {**STAMP, "by_scene": {"fern": {}}, "compared_at": "512x288", "scores": GENERATORS},
        "| model | 20.5 | 0.75 | – | compared at 512x288 |",
    ),
    "long": (
        "motionstream evaluate long",
        {**STAMP, "every": 300, "curves": {"c3s3w3": {}}, "c3s3w3": {"idle": {"sharpness_vs_100": 0.97}}},
        "| c3s3w3, idle | 0.97 |",
    ),
    "ablate": (
        "python -m benchmarks ablation",
        {**STAMP, "curves": {}, "sink": {"c3s0w3, 1 step": SETTING, "c3s3w3, 1 step": SETTING}},
        "| c3s0w3, 1 step | 25 | 0.75 | 0.25 | 2 | 60 |",
    ),
    "vae": ("python -m benchmarks vae", {**STAMP, "psnr_db": 31.5, "decoder_gflop": 16.75}, "| VAE | 31.5 |"),
    "limits": (
        "python -m benchmarks limits",
        {
            **STAMP,
            "by_source": {"warp through the vae": {"clips": 4, **SCORES}},
            "by_source_without_effect": {},
            "by_content": {"speed": {"under 1 px": {"clips": 3, "psnr_pooled_db": 24.5, "epe_px": 0.5}}},
        },
        "| speed, under 1 px | 3 | 24.5 | 0.5 |",
    ),
    "contribution": (
        "python -m benchmarks contribution",
        {**STAMP, "drags": {"large": {"share_over_2": 0.0625, "mean_levels": 0.5}}},
        "| large | 0.0625 | 0.5 |",
    ),
    "optimisations": (
        "python -m benchmarks speed optimisations",
        {
            **STAMP,
            "optimisations": {"joined QKV": {"times_process": {"median": 1.25, "low": 1.0, "high": 1.5}}},
            "left_out": {},
        },
        "| joined QKV | 1.25 | 1 | 1.5 |",
    ),
    "tracker": (
        "python -m benchmarks tracker",
        {**STAMP, "model": "lucas-kanade", "epe_px": 0.5, "tap_vid_256": {"average_jaccard": 0.5}, "by_speed": {}},
        "| lucas-kanade | 0.5 |",
    ),
    "live": ("motionstream bench live", LIVE, "| in this process | 31.42 |"),
    "served": ("motionstream bench live", SERVED, "| 2 | – | 23.5 |"),
    "predicted": (
        "python -m benchmarks predict",
        {
            "predictions": {"wan9": {"machines": {"gpu9": {"fps": 60.0}}}},
            "sources": {},
            "measured": {"wan9": {"fps": 55.0}},
        },
        "| wan9, gpu9 | 60 |",
    ),
    "step": (
        "python -m benchmarks speed step",
        {**STAMP, "ceiling": {}, "step": TIMES, "denoise": TIMES, "fps": 47.0},
        "| denoise | 60 |",
    ),
    "compare": (
        "python -m benchmarks speed compare",
        {
            **STAMP,
            "ratio": {"whole_as_used": {"median": 1.5, "min": 1.25, "max": 2.0}},
            "difference_float32": {},
            "ours_whole": TIMES,
        },
        "| whole as used | 1.5 | 1.25 | 2 |",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def write(folder: Path, name: str, figures: Any) -> Path:
    file = folder / name
    file.write_text(figures if isinstance(figures, str) else json.dumps(figures))
    return file


class Elements(HTMLParser):
    """What a page holds; fails on tags that are not closed in their order."""

    EMPTY = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.mark.parametrize(("command", "figures", "row"), EXAMPLES.values(), ids=EXAMPLES)
def test_every_kind_of_file_has_its_tables(folder: Path, command: str, figures: Mapping[str, Any], row: str) -> None:
    write(folder, "some.json", figures)
    built = report.build(folder)
    text = report.markdown(built, folder)
    assert row in text
    assert command not in [each.what for each in built.missing]
    assert "From [some.json](some.json)" in text
    Elements(report.html(built))


@pytest.mark.parametrize("name", EXAMPLES)
def test_half_a_file_is_no_reason_to_fail(folder: Path, name: str) -> None:
    """Every key in turn is something else than it should be, then gone."""
    figures = EXAMPLES[name][1]
    for number, key in enumerate(figures):
        write(folder, f"odd-{number}.json", {**figures, key: [1, {"a": None}]})
        write(folder, f"word-{number}.json", {**figures, key: "word"})
        write(folder, f"gone-{number}.json", {other: value for other, value in figures.items() if other != key})
    built = report.build(folder)
    assert report.markdown(built)
    Elements(report.html(built))


def test_each_row_says_who_measured_it_where_and_when(folder: Path) -> None:
    write(folder, "motion.json", MOTION)
    lines = report.markdown(report.build(folder)).splitlines()
    ours = [line for line in lines if line.startswith(("| dense, model", "| 5, model"))]
    quoted = [line for line in lines if line.startswith("| student")]
    assert all(row.endswith("| tiny 0123456789ab | Some CPU, 2 cores, torch 2.13.0 | 2026-01-02 |") for row in ours)
    assert len(quoted) == 4
    assert all(row.endswith("| – | paper, H100 | arXiv 2511.01266v5 |") for row in quoted)
    assert "| 16.2 | 0.447 | 0.443 | 7.8 |" in quoted[0]
    assert "Wan 2.1 1.3B, 480p; DAVIS, 30 clips; measured at 832x480; table of motion transfer" in quoted[0]


def test_a_table_without_figures_of_ours_is_not_shown(folder: Path) -> None:
    write(folder, "live.json", LIVE)
    write(folder, "vae.json", {**STAMP, "decoder_gflop": None})
    text = report.markdown(report.build(folder))
    assert "### Live, driven" in text
    assert "steadiness" not in text
    assert "TAEHV" not in text


def test_the_papers_rows_are_marked_in_the_page_too(folder: Path) -> None:
    write(folder, "vae.json", EXAMPLES["vae"][1])
    rows = Elements(report.html(report.build(folder))).all("tr")
    assert [row.get("class") for row in rows][:3] == [None, None, "quoted"]


def test_an_accelerator_stands_for_the_machine() -> None:
    figures = {"machine": {**STAMP["machine"], "gpu": "Some GPU"}}
    assert Result(Path("a.json"), figures).machine == "Some GPU, torch 2.13.0"


def test_what_is_missing_is_said(folder: Path) -> None:
    write(folder, "motion.json", MOTION)
    write(folder, "llff.json", {**EXAMPLES["llff"][1], "skipped": {"fern/a-b": "cannot be read"}})
    _, _, said = report.markdown(report.build(folder)).partition("## Missing")
    assert "| motion.json | lpips | could not be measured |" in said
    assert "| motion.json | clip-0 | skipped: 2 frames, fewer than a chunk |" in said
    assert "| motion.json | 2 more | skipped: see the file |" in said
    assert "| llff.json | fern/a-b | skipped: cannot be read |" in said
    assert "| – | motionstream evaluate text | no file of it in the folder |" in said
    assert "motionstream evaluate motion" not in said


def test_lists_are_never_dumped(folder: Path) -> None:
    write(folder, "motion.json", MOTION)
    write(folder, "other.json", {"samples": list(range(500)), "inner": {"value": 2.5}, "word": "yes"})
    text = report.markdown(report.build(folder))
    assert "secret-clip" not in text
    assert "| samples | 500 entries |" in text
    assert "| inner.value | 2.5 |" in text


@pytest.mark.parametrize("content", ["{", "[1, 2]", "[" * 100_000, '{"a": "\\ud800', ""])
def test_damaged_files_are_named_left_out_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    write(folder, "broken.json", content)
    write(folder, "vae.json", EXAMPLES["vae"][1])
    (folder / "empty.json").mkdir()
    out, site = folder.parent / "new" / "r.md", folder.parent / "site" / "r.html"
    arguments = ["--results", str(folder), "--markdown", str(out), "--html", str(site)]
    assert cli.run(["report", *arguments], app) == errors.DONE
    told = capsys.readouterr()
    assert f"{folder / 'broken.json'}: left out, not" in told.err
    assert "1 files" in told.out
    assert "| broken.json | the file | damaged: not" in out.read_text()
    assert "| empty.json | the file | damaged: cannot be read" in out.read_text()
    assert "| VAE | 31.5 |" in out.read_text()
    assert "../results/vae.json" in site.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--results", "nowhere", "--html", "r.html"], "no folder nowhere: name the one with the JSON files"),
        (["--results", ".", "--html", "r.html"], "no figures in .: write some with --json"),
        (["--results", "."], "name a file with --markdown, --html or both"),
    ],
)
def test_wrong_input_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["report", *arguments], app) == errors.WRONG_INPUT
    assert says in capsys.readouterr().err


def test_nothing_of_a_file_is_taken_for_html(folder: Path) -> None:
    nasty = '<script>alert(1)</script>"&|`[x](y)`'
    figures = {**MOTION, "model": nasty, "missing": [nasty], "date": nasty, nasty: {"still_ratio": 1, "model": SCORES}}
    write(folder, "<b onload=x>.json", figures)
    write(folder, "other.json", {nasty: nasty})
    Image.new("RGB", (2, 2)).save(folder / "<b onload=x>&.png")
    built = report.build(folder)
    found = Elements(report.html(built, folder))
    assert not found.all("script") + found.all("b")
    assert {"href": "%3Cb%20onload%3Dx%3E.json"} in found.all("a")
    text = report.markdown(built, folder)
    assert "<script" not in text
    assert "<b " not in text
    row = next(line for line in text.splitlines() if line.startswith("| dense, model"))
    assert r'&lt;script>alert(1)&lt;/script>"&amp;\|\`\[x\](y)\`' in row


def test_pictures_are_in_the_page_and_videos_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "motion.json", MOTION)
    write(folder, "motion_far.json", MOTION)
    write(folder, "vae.json", EXAMPLES["vae"][1])
    (folder / "motion").mkdir()
    (folder / "motion" / "a dog.mp4").write_bytes(b"video")
    (folder / "vae.webm").write_bytes(b"video")
    (folder / ".hidden.mp4").write_bytes(b"video")
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(folder / "motion_far.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(folder / "noise.png")
    monkeypatch.setattr(report, "MOST_INLINE", 1000)
    built = report.build(folder)
    motion, vae, others = built.sections
    assert [file.name for file in motion.media] == ["a dog.mp4", "motion_far.png"]
    assert [file.name for file in vae.media] == ["vae.webm"]
    assert (others.title, [file.name for file in others.media]) == (report.OTHERS, ["noise.png"])
    found = Elements(report.html(built, folder.parent / "out"))
    assert [one["src"] for one in found.all("video")] == ["../results/motion/a%20dog.mp4", "../results/vae.webm"]
    small, large = (str(one["src"]) for one in found.all("img"))
    assert small.startswith("data:image/png;base64,iVBOR")
    assert large == "../results/noise.png"
    assert "![motion_far.png](motion_far.png)" in report.markdown(built, folder)


def test_the_page_needs_nothing_from_elsewhere(folder: Path) -> None:
    for name, (_, figures, _) in EXAMPLES.items():
        write(folder, f"{name}.json", figures)
    text = report.html(report.build(folder), folder)
    assert "http:" not in text
    assert "https:" not in text
    assert not Elements(text).all("script") + Elements(text).all("link")
    assert "no file of it" not in " ".join(each.why for each in report.build(folder).missing)


def test_a_figure_that_nobody_has_takes_no_column() -> None:
    rows = [report.Row("a", {"x_ms": {"p50": 1.0}, "y": None}), report.Row("b", {"z": float("nan")})]
    made = report.Table("t", rows, ("x_ms.p50", "y", "z"))
    assert made.markdown() == "|  | x, ms, p50 |\n| --- | --- |\n| a | 1 |\n| b | – |"


def of(title: str) -> list[kinds.Table]:
    """The tables of one kind of file."""
    return [table for kind in kinds.KINDS if kind.title == title for table in kind.tables]


def columns(title: str) -> set[str]:
    return {column for table in of(title) for column in table.columns}


def test_the_tables_know_the_names_that_evaluations_write() -> None:
    """Figures of the evaluations' own code: a name that changes there must change here."""
    assert {f"Ablation: {name}" for name in RECIPES["all"]} == {one.title for one in of("Ablations")}
    assert {*figures_of(table({}), "model"), "lpips", "uncovered_psnr_db"} <= columns("Motion")
    assert set(stream_figures.worst({})) <= columns("Long video")
    in_process = {"fps", "chunk_ms", "settle_ms", "last_over_first_quarter", "rss_growth", "stalled_ms"}
    of_others = in_process | {"latency_s", "server", "viewers_cores"}
    heads = {column.partition(".")[0] for column in columns("Live")}
    assert heads - of_others <= set(Measures(viewers=1).figures())


def test_headings_name_units_and_the_better_way() -> None:
    headed = {
        "psnr_db": "PSNR, dB ↑",
        "epe_given_px": "EPE given, px ↓",
        "epe_not_given_px": "EPE not given, px",
        "control_ratio": "control ratio ↑",
        "chunk_ms_p95": "chunk ms p95 ↓",
        "gesture_to_frame_ms.p50": "gesture to frame, ms, p50",
        "seam_ratio": "seam ratio ↓",
        "clips": "clips",
    }
    assert {column: report.label(column) for column in headed} == headed


def test_the_report_of_docs_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    folder = Path("docs/results")
    written = (folder / "README.md").read_text(encoding="utf-8")
    assert written == report.markdown(report.build(folder), folder), "run: make figures"
    assert [read(file) for file in folder.glob("*.json")]
