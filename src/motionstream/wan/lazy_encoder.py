"""Base of the text and image encoders: frozen networks of Transformers, large and seldom used, read when first needed.

Only local folders are read: nothing is downloaded and nothing unpickled.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn


class LazyEncoder:
    """Reads its network at the first use. Threads may share it: one uses the network at a time.

    folder: of a Wan release in Diffusers' layout. device, dtype: where and in what the network computes. offload: its
    weights wait in main memory between uses.
    """

    transformers_class: ClassVar[str]
    subfolder: ClassVar[str]
    """Of `folder`, with config.json and safetensors."""

    def __init__(
        self,
        folder: Path | str,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        offload: bool = False,
    ) -> None:
        self.folder, self.device, self.dtype, self.offload = Path(folder), torch.device(device), dtype, offload
        self._network: nn.Module | None = None
        self._lock = threading.Lock()

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """The network on its device, in evaluation mode and without gradients.

        Raises FileNotFoundError if it is not in the folder, and ValueError if the device has no memory left for it.
        """
        # inference_mode(False): the outputs of an encoder that a stream has loaded can be trained on.
        with self._lock, torch.inference_mode(False), torch.no_grad():
            if self._network is None:
                self._network = self._load().eval().requires_grad_(False)
            try:
                yield self._moved(self._network)
            finally:
                if self.offload and self._network is not None:
                    self._network.to("cpu")
                    self._free_cached_memory()

    def _load(self) -> nn.Module:
        import transformers

        folder = self.folder / self.subfolder
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
            raise FileNotFoundError(
                f"no config.json and safetensors in {folder}: name a folder of Wan in Diffusers' layout, "
                f"with {self.subfolder}/"
            )
        network: nn.Module = getattr(transformers, self.transformers_class).from_pretrained(
            str(folder), dtype=self.dtype, local_files_only=True, use_safetensors=True
        )
        return network.to(self.dtype)

    def _moved(self, network: nn.Module) -> nn.Module:
        try:
            return network.to(self.device)
        except torch.OutOfMemoryError:
            self._network = None
            self._free_cached_memory()
            size = sum(parameter.nbytes for parameter in network.parameters()) / (1 << 30)
            raise ValueError(
                f"{self.device} has not {size:.1f} GiB of memory left for {type(network).__name__}: "
                "run it on the cpu, or free memory (motionstream doctor --plan)"
            ) from None

    def _free_cached_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
