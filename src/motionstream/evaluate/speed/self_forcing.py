"""Self-Forcing's `CausalWanModel` beside ours: its owner's checkout on this machine, in a process of its own.

Nothing of it is in this project, and none of its modules comes into this process: `self_forcing_worker` puts the
checkout on its own path, builds the model with our random weights, and takes its turn when it is told to. Both sides
speak lines of JSON. On one GPU both models are there, and only one is at work at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from motionstream.evaluate.speed.stopwatch import Took
from motionstream.evaluate.speed.untrained import Shape

WORKER = "motionstream.evaluate.speed.self_forcing_worker"
BACKENDS = {"self_forcing": "default", "self_forcing_cudnn": "cudnn"}
"""Form → the attention that its model runs with: PyTorch's own choice, and the fastest that there is, which is fair."""


@dataclass(frozen=True)
class RemoteForm:
    """One form of the model over there."""

    home: SelfForcing
    backend: str

    def times(self, calls: int) -> list[Took]:
        """Of so many calls, after one that is not counted."""
        answer = self.home.ask({"do": "time", "backend": self.backend, "calls": calls})
        return [Took(*took) for took in answer["took"]]


class SelfForcing:
    """The other process, with one model, in float32 until it is `cast`. Use it with `with`: it ends with it.

    Raises ValueError, with the checkout's own complaint, where its model cannot be imported or does not fit.
    """

    def __init__(self, checkout: Path, shape: Shape, device: torch.device, seed: int) -> None:
        if not (checkout / "wan" / "modules" / "causal_model.py").is_file():
            raise ValueError(
                f"{checkout}: no wan/modules/causal_model.py in it; --self-forcing takes a checkout of Self-Forcing"
            )
        self.process = subprocess.Popen(
            [sys.executable, "-m", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        given = {
            "do": "open",
            "checkout": str(checkout.resolve()),
            "name": shape.name,
            "layers": shape.dit.layers,
            "reduced": shape.reduced,
            "size": shape.geometry.size,
            "device": str(device),
            "seed": seed,
            "threads": torch.get_num_threads(),
        }
        try:
            self.ask(given)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SelfForcing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def forms(self, device: torch.device) -> dict[str, RemoteForm]:
        """Forms to be timed; cuDNN's attention is there on GPUs only."""
        wanted = BACKENDS if device.type == "cuda" else {"self_forcing": "default"}
        return {name: RemoteForm(self, backend) for name, backend in wanted.items()}

    def cast(self, dtype: torch.dtype) -> None:
        """Work in this dtype from now on."""
        self.ask({"do": "cast", "dtype": str(dtype).removeprefix("torch.")})

    def output(self) -> Tensor:
        """Velocity (1, T, C, h, w) of the chunk that ours is timed on, float32 on the CPU."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "output.safetensors"
            self.ask({"do": "output", "backend": "default", "file": str(file)})
            return load_file(file)["output"]

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
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process ended; its last words are above"}
        if "error" in answer:
            raise ValueError(f"Self-Forcing: {answer['error']}")
        return answer
