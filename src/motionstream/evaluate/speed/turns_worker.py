"""The process of a `FarForm`: `python -m` this, orders in on stdin, answers out, a line each (`remote`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from motionstream.evaluate.speed.remote import obey_orders
from motionstream.evaluate.speed.turns import LiveForm
from motionstream.evaluate.speed.without import Subject


class Worker:
    """Carries out orders, one after another."""

    def __init__(self) -> None:
        self.form: LiveForm | None = None

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to one order."""
        if order["do"] == "open":
            torch.set_num_threads(order["threads"])
            subject = Subject(Path(order["folder"]), getattr(torch, order["dtype"]))
            self.form = LiveForm(subject.shipped, order["seed"])
            return {}
        if order["do"] == "environment":
            return {"environment": {name: os.environ.get(name) for name in order["names"]}}
        assert self.form is not None
        turn = self.form.turn(order["steps"])
        save_file({"frames": torch.from_numpy(turn.frames)}, order["file"])
        return {"took": [(took.wall, took.process, took.device) for took in turn.times]}


def main() -> None:
    """Until stdin ends."""
    obey_orders(Worker().obey)


if __name__ == "__main__":
    main()
