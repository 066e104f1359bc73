"""Self-Forcing's `CausalWanModel` beside ours: its owner's checkout on this machine, in a process of its own.

Nothing of it is in this project, and none of its modules comes into this process: `self_forcing_worker` puts the
checkout on its own path, builds the model with our random weights, and takes its turn when it is told to
(`remote`). On one GPU both models are there, and only one is at work at a time.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from motionstream.evaluate.speed.remote import Remote
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


class SelfForcing(Remote):
    """The other process, with one model, in float32 until it is `cast`. Use it with `with`: it ends with it.

    Raises ValueError, with the checkout's own complaint, where its model cannot be imported or does not fit.
    """

    def __init__(self, checkout: Path, shape: Shape, device: torch.device, seed: int) -> None:
        if not (checkout / "wan" / "modules" / "causal_model.py").is_file():
            raise ValueError(
                f"{checkout}: no wan/modules/causal_model.py in it; --self-forcing takes a checkout of Self-Forcing"
            )
        super().__init__(WORKER, "Self-Forcing")
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
        self.open(given)

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
