"""`python -m benchmarks report` and `figures`: what was measured, as documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.report import readme, report

Results = Annotated[Path, typer.Option(help="The folder of JSON files, sheets and videos.")]
RESULTS = Path("docs/results")


def report_command(
    results: Results = RESULTS,
    markdown_out: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="As Markdown.")] = None,
    html_out: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="As one page.")] = None,
) -> None:
    """Put all figures of a folder together: ours beside the paper's, sheets and videos, and what is missing.

    [bold]python -m benchmarks report --html out/report.html[/]

    A .png, .mp4 or .webm in the folder, or one folder down, stands with the JSON file whose name it begins with
    (motion.json: motion.png, motion/dog.mp4). Damaged files are named, left out and counted.
    """
    if markdown_out is None and html_out is None:
        raise ValueError("nowhere to write to: name a file with --markdown, --html or both")
    built = report.build(results)
    for each in built.missing:
        if each.why.startswith("damaged"):
            typer.echo(f"{results / each.file}: left out, {each.why.removeprefix('damaged: ')}", err=True)
    for file, write in ((markdown_out, report.markdown), (html_out, report.html)):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(write(built, file.parent), encoding="utf-8")
            typer.echo(f"{file}: written")
    typer.echo(f"{sum(len(one.files) for one in built.sections)} files, {len(built.missing)} things missing")


def figures_command(
    documents: Annotated[list[Path] | None, typer.Argument(help="Those with the markers; else all of ours.")] = None,
    results: Results = RESULTS,
    check: Annotated[bool, typer.Option("--check", help="Only say whether they are up to date.")] = False,
) -> None:
    """Put the ten figures of the shipped weights between the markers of the README and the model card.

    [bold]python -m benchmarks figures --check[/]
    """
    for document in documents or readme.DOCUMENTS:
        changed = readme.update(document, results, write=not check)
        if changed and check:
            raise ValueError(f"{document} is not up to date: run `make figures`")
        typer.echo(f"{document}: {'written' if changed else 'up to date'}")
