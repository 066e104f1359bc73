"""One finished smoke chain for all tests that look at its stages."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.train.smoke import run_chain


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage trained for its four steps. To be read, not written."""
    out = tmp_path_factory.mktemp("chain")
    run_chain(out)
    return out
