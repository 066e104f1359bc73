"""A large frozen network that is needed seldom (text and image encoders), and where it lives between its uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Literal, TypeVar

import torch
from torch import nn

Keep = Literal["device", "cpu", "disk"]
"""device: the network stays where it computes. cpu: it waits in the host's memory. disk: it is dropped, and read anew
when it is next needed."""
KEEPS = ("device", "cpu", "disk")

Network = TypeVar("Network", bound=nn.Module)


class Resident(Generic[Network]):
    """Reads its network when it is first used. Uses take turns, so that threads may share it.

    load: makes the network on the CPU. device: where it computes.
    """

    def __init__(self, load: Callable[[], Network], device: torch.device | str, keep: Keep) -> None:
        if keep not in KEEPS:
            raise ValueError(f"keep {keep!r}: one of {', '.join(KEEPS)}")
        self.load, self.device, self.keep = load, torch.device(device), keep
        self._network: Network | None = None
        self._turn = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the network is in memory now."""
        return self._network is not None

    @contextmanager
    def ready(self) -> Iterator[Network]:
        """The network on its device, in evaluation mode and without gradient; afterwards it goes where it is kept.

        Raises ValueError where the device has no room for it.
        """
        # Ordinary tensors even for a stream in inference mode: training may read the same network's answers.
        with self._turn, torch.inference_mode(False), torch.no_grad():
            if self._network is None:
                self._network = self.load().eval().requires_grad_(False)
            network = self._on_device(self._network)
            try:
                yield network
            finally:
                del network
                self._put_away()

    def release(self) -> None:
        """Drop the network now; the next use reads it anew."""
        with self._turn:
            self._drop()

    def _on_device(self, network: Network) -> Network:
        try:
            return network.to(self.device)
        except torch.OutOfMemoryError:
            self._drop()
            size = sum(parameter.nbytes for parameter in network.parameters()) / (1 << 30)
            raise ValueError(
                f"{self.device} has no room for {size:.1f} GiB of {type(network).__name__} beside what it holds: "
                "let it compute on the cpu, or give up memory elsewhere (motionstream doctor --plan)"
            ) from None

    def _put_away(self) -> None:
        if self.keep == "disk":
            self._drop()
        elif self.keep == "cpu" and self._network is not None and self.device.type != "cpu":
            self._network.to("cpu")
            self._return_memory()

    def _drop(self) -> None:
        self._network = None
        self._return_memory()

    def _return_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
