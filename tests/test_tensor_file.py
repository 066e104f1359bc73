"""Weight files: tensors come out by name, and nothing else is read or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from motionstream.tensor_file import read_tensors

WEIGHTS = {"weight": torch.arange(4.0)}


class Harm:
    """What a file that runs code when it is unpickled contains."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("content", [WEIGHTS, {"state_dict": WEIGHTS}, {"model": WEIGHTS, "step": 3}])
def test_tensors_come_out_by_name(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save(content, tmp_path / "w.pth")
    read = read_tensors(tmp_path / "w.pth")
    assert read.keys() == WEIGHTS.keys()
    assert torch.equal(read["weight"], WEIGHTS["weight"])
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    assert torch.equal(read_tensors(tmp_path / "w.safetensors")["weight"], WEIGHTS["weight"])


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    file = tmp_path / "harm.pth"
    torch.save({"weight": Harm(tmp_path / "ran")}, file)
    with pytest.raises(ValueError, match="harm"):
        read_tensors(file)
    assert not (tmp_path / "ran").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "ran").exists(), "the file is harmful when read otherwise"


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": "words"}, tmp_path / "words.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    for name, says in (("words.pth", "holds more than weights"), ("cut.safetensors", "download it again")):
        with pytest.raises(ValueError, match=says):
            read_tensors(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none.pth")
