"""The `serve` fixture: real servers on free ports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.serve.fake_model import FakeModel
from tests.serve.harness import Running, running

from motionstream.serve import Limits

Serve = Callable[..., Running]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers: serve(model=…, limits=…, any setting)."""
    with contextlib.ExitStack() as stack:

        def start(model: FakeModel | None = None, limits: Limits | None = None, **settings: Any) -> Running:
            return stack.enter_context(running(model or FakeModel(), limits or Limits(), **settings))

        yield start
