"""Running the program in a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from motionstream import cli, errors

ASSETS = Path(__file__).parents[1] / "data" / "assets"
"""Pictures for synthetic worlds."""


def error_line(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = errors.WRONG_INPUT) -> str:
    """The one line on stderr with which the program ends in `code`."""
    assert cli.run(arguments) == code
    line = capsys.readouterr().err
    assert line.startswith("motionstream: ")
    assert line.count("\n") == 1, line
    return line
