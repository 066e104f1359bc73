"""The program `motionstream`: one thin function a command, each calls the library.

Every command, or group of commands, has a file; `options` is what they share. Here they are put together and run.

Nothing heavy is imported until a command runs, so that --help answers at once. Exit codes: 0 done, 2 the user's input
was wrong (one line on stderr), 1 an internal error (a traceback with --debug), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from motionstream import errors
from motionstream.cli import bench, convert, data, doctor, evaluate, generate, studio, tracks, train, zoo


def new_program(about: str, epilog: str) -> typer.Typer:
    """A program without commands, for `run`."""
    settings: dict[str, Any] = {"no_args_is_help": True, "add_completion": False, "pretty_exceptions_enable": False}
    return typer.Typer(**settings, rich_markup_mode="rich", help=about, epilog=epilog)


app = new_program(
    "A picture and a prompt become an endless video, generated live, that follows your mouse.",
    "Start with: motionstream demo     What this machine can run: motionstream doctor",
)
SINGLE = convert.convert, studio.demo, studio.serve, generate.generate, tracks.track, tracks.camera, train.train
for command in (*SINGLE, doctor.doctor):
    app.command()(command)
for name, group in {"data": data, "bench": bench, "evaluate": evaluate, "zoo": zoo}.items():
    app.add_typer(group.app, name=name)


@app.callback()
def program(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
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


def run(arguments: Sequence[str], commands: typer.Typer = app, name: str = "motionstream") -> int:
    """Run one command → exit code; what went wrong goes to stderr as one line that begins with the program's name."""
    try:
        return int(commands(list(arguments), prog_name=name, standalone_mode=False) or errors.DONE)
    except (KeyboardInterrupt, typer.Abort):
        return errors.INTERRUPTED
    except Exception as error:
        return _report_error(error, name)


def _report_error(error: Exception, name: str) -> int:
    usage = getattr(error, "format_message", None)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing to add at exit
        return errors.DONE
    if os.environ.get("MOTIONSTREAM_DEBUG"):
        traceback.print_exception(error)
    if usage or errors.is_user_error(error):
        return _print_error(name, usage().partition("\n")[0] if usage else errors.one_line(error), errors.WRONG_INPUT)
    hint = "" if os.environ.get("MOTIONSTREAM_DEBUG") else f"; {name} --debug … shows where"
    line = f"internal error: {type(error).__name__}: {errors.one_line(error)}{hint}"
    return _print_error(name, line, errors.INTERNAL_ERROR)


def _print_error(name: str, line: str, code: int) -> int:
    print(f"{name}: {line}", file=sys.stderr)
    return code
