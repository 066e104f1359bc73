"""`motionstream docs …`: documents that hold figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Keep the documents true.")


@app.command("figures")
def docs_figures(
    documents: Annotated[list[Path] | None, typer.Argument(help="Those with the markers; else all of ours.")] = None,
    results: Annotated[Path, typer.Option(help="The folder of JSON files.")] = Path("docs/results"),
    check: Annotated[bool, typer.Option("--check", help="Only say whether they are up to date.")] = False,
) -> None:
    """Put the figures of docs/results/ between the markers of the README and the model card."""
    from motionstream import figures

    for document in documents or figures.DOCUMENTS:
        changed = figures.update(document, results, write=not check)
        if changed and check:
            raise ValueError(f"{document} is not up to date: run `motionstream docs figures`")
        typer.echo(f"{document}: {'written' if changed else 'up to date'}")
