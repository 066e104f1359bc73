"""`motionstream zoo list`: the models that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.program import error_line

from motionstream import cli, errors, zoo


def test_the_models_of_the_package_are_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo, "EMBEDDED", {"small": folder})
    assert cli.run(["zoo", "list"]) == errors.DONE
    said = capsys.readouterr().out
    assert "small.size" in said
    assert "(64, 48)" in said or "[64, 48]" in said


def test_the_list_takes_no_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unexpected extra argument" in error_line(capsys, ["zoo", "list", "tiny"])
