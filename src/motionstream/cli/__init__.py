"""The program `motionstream`: one thin function a command, each calls the library.

Every command, or group of commands, has a file; `options` is what they share. Here they are put together and run.

Nothing heavy is imported until a command runs, so that --help answers at once. Exit codes: 0 done, 2 the user's input
was wrong (one line on stderr), 1 our fault (a traceback with --debug), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from motionstream import errors
from motionstream.cli import bench, convert, data, docs, doctor, evaluate, generate, studio, tracks, train, zoo

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="One picture, one prompt, one drag: a video that follows your hand, live.",
    epilog="Start with: motionstream demo     What can this machine do: motionstream doctor",
)
app.command()(convert.convert)
app.command()(studio.demo)
app.command()(studio.serve)
app.command()(generate.generate)
app.command()(tracks.track)
app.command()(tracks.camera)
app.command()(train.train)
app.command()(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(zoo.app, name="zoo")
app.add_typer(docs.app, name="docs")


@app.callback()
def program(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    if debug:
        os.environ["MOTIONSTREAM_DEBUG"] = "1"
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"motionstream {installed('motionstream')}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command → exit code; what went wrong goes to stderr as one line."""
    try:
        return int(app(list(arguments), prog_name="motionstream", standalone_mode=False) or errors.DONE)
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except typer.Abort:
        return errors.INTERRUPTED
    except Exception as error:
        return _complain(error)


def _complain(error: Exception) -> int:
    usage = getattr(error, "format_message", None)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing to add at exit
        return errors.DONE
    if os.environ.get("MOTIONSTREAM_DEBUG"):
        traceback.print_exception(error)
    if usage or errors.is_users(error):
        return _say(usage().partition("\n")[0] if usage else errors.one_line(error), errors.WRONG_INPUT)
    hint = "" if os.environ.get("MOTIONSTREAM_DEBUG") else "; motionstream --debug … shows where"
    return _say(f"our fault: {type(error).__name__}: {errors.one_line(error)}{hint}", errors.OUR_FAULT)


def _say(line: str, code: int) -> int:
    print(f"motionstream: {line}", file=sys.stderr)
    return code
