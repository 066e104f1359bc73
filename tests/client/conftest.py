"""The `serve` fixture: real servers on free ports."""

from tests.serve.conftest import serve

__all__ = ["serve"]
