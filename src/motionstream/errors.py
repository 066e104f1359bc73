"""Errors of the user and errors of this project: exceptions → one line and an exit code, for every program.

The library raises ValueError (what, where, what to send instead) for a wrong input and lets OSError pass for
files, ports and disks; a missing optional package is an ImportError. These three the user can correct; anything
else is an error of this project.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

DONE, INTERNAL_ERROR, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

# The extra that brings an optional package, by the name it is imported as.
EXTRAS = {
    "fastapi": "serve",
    "uvicorn": "serve",
    "websockets": "serve",
    "msgpack": "serve",
    "pydantic_settings": "serve",
    "pydantic": "serve",
    "prometheus_client": "serve",
    "multipart": "serve",
    "cv2": "data",
    "tensorboard": "train",
    "torchmetrics": "evaluate",
    "matplotlib": "evaluate",
    "pandas": "evaluate",
    "diffusers": "wan",
    "transformers": "wan",
}


def is_user_error(error: BaseException) -> bool:
    """Whether the user can correct this: a wrong value, a file, a port, a package that is not installed."""
    if isinstance(error, ModuleNotFoundError):
        return _package(error) in EXTRAS
    return isinstance(error, ValueError | OSError) and not isinstance(error, UnicodeError)


def one_line(error: BaseException) -> str:
    """What went wrong and what to do, on one line without control characters."""
    if isinstance(error, ModuleNotFoundError) and _package(error) in EXTRAS:
        package = _package(error)
        text = f"this needs the package {package}: pip install 'motionstream[{EXTRAS[package]}]'"
    elif isinstance(error, OSError) and error.strerror:
        text = _system(error)
    elif type(error).__name__ == "ValidationError" and hasattr(error, "errors"):
        text = "; ".join(_field(entry) for entry in error.errors())
    else:
        text = str(error) or type(error).__name__
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]


def _field(entry: Mapping[str, Any]) -> str:
    """One error of pydantic, without its headings and links."""
    where = ".".join(str(step) for step in entry["loc"])
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _system(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use: choose another one with --port, or 0 for any free one"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
