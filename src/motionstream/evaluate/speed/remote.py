"""Work that must be done in a process of its own: another project's modules, another environment.

Both sides speak lines of JSON, an order and its answer; what is large goes through a file that the order names.
The process ends with its owner, because its standard input does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

LAST_SECONDS = 30.0  # to end by itself before it is killed
GONE = "its process ended; its last words are above"


class Remote:
    """A module run as a process, which obeys orders. Use it with `with`: it ends with it.

    label: how its complaints begin. environment: its variables, those of this process if not given.
    """

    def __init__(self, module: str, label: str, environment: Mapping[str, str] | None = None) -> None:
        self.label = label
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=None if environment is None else dict(environment),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, order: dict[str, Any]) -> dict[str, Any]:
        """The first order's answer; where that fails the process is ended."""
        try:
            return self.ask(order)
        except BaseException:
            self.close()
            raise

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order and wait for its answer. Raises ValueError with what went wrong over there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {"error": GONE}
        if "error" in answer:
            raise ValueError(f"{self.label}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=LAST_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def obey_orders(obey: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The other side: answer the orders on standard input until that ends."""
    with _answers() as out:
        for line in sys.stdin:
            try:
                answer = obey(json.loads(line))
            except Exception as error:  # the other side says it to the user
                answer = {"error": f"{type(error).__name__}: {error}" if not str(error) else str(error)}
            out.write(json.dumps(answer) + "\n")
            out.flush()


@contextmanager
def _answers() -> Iterator[Any]:
    """Where answers go: the real stdout, which nothing else in this process can write to any more."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        yield out
