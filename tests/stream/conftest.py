"""One small model for all tests of streams: it holds nothing of a stream, or these tests fail."""

from __future__ import annotations

import pytest
from tests.stream.small_bundle import open_small, save_small

from motionstream.stream.model import StreamingModel


@pytest.fixture(scope="package")
def model(tmp_path_factory: pytest.TempPathFactory) -> StreamingModel:
    return open_small(save_small(tmp_path_factory.mktemp("small")))
