"""`motionstream evaluate report`: all figures of a folder on one page, beside the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motionstream import console


def evaluate_report_command(
    results: Annotated[Path, typer.Option(help="The folder of JSON files, sheets and videos.")] = Path("docs/results"),
    markdown_out: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables here as Markdown.")
    ] = None,
    html_out: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page here, with pictures and videos.")
    ] = None,
) -> None:
    """Put all figures of a folder together: ours beside the paper's, sheets and videos, and what is missing.

    [bold]motionstream evaluate report --html out/report.html[/]

    [bold]motionstream evaluate report --results figures --markdown results.md --html report.html[/]

    A .png, .mp4 or .webm in the folder, or one folder down, stands with the JSON file whose name it begins with
    (motion.json: motion.png, motion/dog.mp4). Damaged files are named, left out and counted.
    """
    from motionstream.evaluate.reporting import page, report

    if markdown_out is None and html_out is None:
        raise ValueError("nowhere to write to: name a file with --markdown, --html or both")
    built = report.build(results)
    for each in built.damaged:
        typer.echo(f"{each.file}: left out, {each.reason}", err=True)
    for file, write in ((markdown_out, report.markdown), (html_out, page.html)):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(write(built, file.parent), encoding="utf-8")
            typer.echo(f"{file}: written")
    console.table("report", built.counts())
