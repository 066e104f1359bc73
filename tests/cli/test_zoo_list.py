"""`motionstream zoo list`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stream.small_bundle import save_small

from motionstream import cli, errors, zoo


def test_the_models_of_the_package_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(zoo, "EMBEDDED", {"small": save_small(tmp_path / "small")})
    assert cli.run(["zoo", "list"]) == errors.DONE
    said = capsys.readouterr().out
    assert "small.size" in said
    assert "[48, 32]" in said


def test_the_list_takes_no_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["zoo", "list", "tiny"]) == errors.WRONG_INPUT
    assert "unexpected extra argument" in capsys.readouterr().err
