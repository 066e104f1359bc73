"""The guards of CI see what they are there to see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = {
    "passes": "def test_a(): pass\n",
    "gpu": "import pytest\n@pytest.mark.skip(reason='needs a GPU')\ndef test_a(): pass\ndef test_b(): pass\n",
    "skips": "import pytest\ndef test_a():\n    pytest.skip('Chromium is missing')\n",
    "module": "import pytest\npytest.skip('no such package', allow_module_level=True)\n",
}


@pytest.mark.parametrize(
    ("name", "ci", "passes"),
    [
        ("passes", "true", True),
        ("gpu", "true", True),
        ("skips", "true", False),
        ("skips", "", True),
        ("module", "true", False),
    ],
)
def test_ci_fails_where_a_test_is_left_out(tmp_path: Path, name: str, ci: str, passes: bool) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(TESTS[name] + "def test_other(): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "CI": ci}, timeout=60
    )
    assert (done.returncode == 0) == passes, done.stdout
    assert ("CI may not skip" in done.stdout) == (not passes)


def test_ci_runs_what_a_contributor_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert "set -euo pipefail" in script.read_text()
    assert "exec make test" in script.read_text()
    assert os.access(script, os.X_OK)


def test_every_pinned_direct_dependency_is_pinned_once() -> None:
    """constraints.txt names each package of pyproject.toml exactly once, and pins it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    named = {re.split(r"[\[<>=]", entry)[0].lower().replace("_", "-") for entry in wanted}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = [line.partition("==")[0].lower().replace("_", "-") for line in lines]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert len(set(pinned)) == len(pinned)
    assert named - set(pinned) == set()
