"""In CI nothing is left out silently: a skipped test fails the run, unless what it lacks is a GPU.

Where files of tests are run side by side (`make test`), each process has its share of the cores: torch's threads would
otherwise wait for one another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

if side_by_side := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(side_by_side))))


def left_out(config: pytest.Config) -> Iterator[str]:
    """Skipped tests, each with its reason, that CI may not skip."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for report in reporter.stats.get("skipped", []) if reporter else []:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "GPU" not in reason:
            yield f"{report.nodeid}: {reason}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") == "true" and session.exitstatus == 0 and any(left_out(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if os.environ.get("CI") == "true":
        for line in left_out(config):
            terminalreporter.write_line(f"CI may not skip {line}", red=True)
