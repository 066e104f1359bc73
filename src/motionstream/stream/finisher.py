"""What a model does to decoded frames before they are shown. Most do nothing; the embedded one restores detail and
applies its prompt filter (`tiny/finisher.py`)."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from torch import Tensor

S = TypeVar("S")


class Finisher(Protocol[S]):
    """Finishes the frames of streams. S: its state of one stream."""

    def open(self, prompt: str, seed: int) -> S:
        """Before the first frame."""
        ...

    def prompted(self, state: S, prompt: str, frame: int) -> S:
        """A new prompt, in force from this frame on."""
        ...

    def restored(self, video: Tensor, conditioner_state: Any) -> Tensor:
        """Decoded frames (1, F, 3, H, W) in [−1, 1] → the frames that the stream goes on from.

        conditioner_state: of the conditioner, after this chunk.
        """
        ...

    def shown(self, video: Tensor, state: S, frame: int) -> Tensor:
        """Restored frames, the first of number `frame` → the frames shown."""
        ...

    def pack(self, state: S) -> dict[str, Any]:
        """The state as JSON values, for a snapshot."""
        ...

    def unpack(self, values: dict[str, Any], prompt: str, seed: int) -> S:
        """The state that was packed. Raises KeyError or TypeError if it is not one."""
        ...


AnyFinisher = Finisher[Any]
"""Whatever its state is: a stream only hands it back."""


class NoFinisher:
    """Shows decoded frames as they are."""

    def open(self, prompt: str, seed: int) -> None:
        return None

    def prompted(self, state: None, prompt: str, frame: int) -> None:
        return None

    def restored(self, video: Tensor, conditioner_state: Any) -> Tensor:
        return video

    def shown(self, video: Tensor, state: None, frame: int) -> Tensor:
        return video

    def pack(self, state: None) -> dict[str, Any]:
        return {}

    def unpack(self, values: dict[str, Any], prompt: str, seed: int) -> None:
        return None
