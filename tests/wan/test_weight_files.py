"""Weight files: what is written is what safetensors reads, and a damaged file is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from motionstream.wan.weight_files import INDEX, open_weights, write_weights

TENSORS = {"a": torch.randn(3, 4), "b.c": torch.randn(7), "d": torch.randn(2, 5, 1), "e": torch.randn(())}
LAYOUT = {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}


def write(folder: Path, dtype: torch.dtype = torch.float32, limit: int = 10**9) -> dict[str, str]:
    return write_weights(folder, LAYOUT, TENSORS.items(), dtype, limit)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_file_is_what_safetensors_reads(tmp_path: Path, dtype: torch.dtype) -> None:
    hashes = write(tmp_path, dtype)
    assert list(hashes) == ["network.safetensors"]
    file = tmp_path / "network.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == hashes[file.name]
    read = load_file(file)
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(read[name], tensor.to(dtype)), name
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.safetensors"]


def test_many_files_keep_to_the_limit_and_an_index_names_them(tmp_path: Path) -> None:
    hashes = write(tmp_path, limit=60)
    assert list(hashes) == [f"network-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = json.loads((tmp_path / f"network{INDEX}").read_text())
    assert index["metadata"]["total_size"] == 4 * sum(tensor.numel() for tensor in TENSORS.values())
    stored = open_weights(tmp_path)
    assert stored.shapes == LAYOUT
    for name, tensor in TENSORS.items():
        assert torch.equal(stored.read(name), tensor)
        assert torch.equal(load_file(tmp_path / index["weight_map"][name])[name], tensor)


def test_a_folder_with_weights_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match="has weights already"):
        write(tmp_path)


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[str, Tensor]]:
        yield "a", TENSORS["a"]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        write_weights(tmp_path, LAYOUT, broken(), torch.float32, limit=60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": torch.zeros(4, 3)}, r"a \(4, 3\) came where a \(3, 4\)"),
        ({"e": torch.zeros(()), "f": torch.zeros(1)}, "f came after the last"),
    ],
)
def test_other_tensors_than_promised_are_refused(tmp_path: Path, change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_weights(tmp_path, LAYOUT, (TENSORS | change).items(), torch.float32)
    with pytest.raises(ValueError, match="nothing"):
        write_weights(tmp_path, LAYOUT, list(TENSORS.items())[:2], torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_a_pipelines_folder_is_entered(tmp_path: Path) -> None:
    write(tmp_path / "transformer")
    assert open_weights(tmp_path).shapes == LAYOUT


def test_an_index_is_held_to(tmp_path: Path) -> None:
    write(tmp_path, limit=60)
    index = tmp_path / f"network{INDEX}"
    listed = json.loads(index.read_text())
    moved = {"weight_map": {**listed["weight_map"], "a": listed["weight_map"]["e"], "z": listed["weight_map"]["e"]}}
    index.write_text(json.dumps(moved))
    with pytest.raises(ValueError, match="not where the index says: a, z"):
        open_weights(tmp_path)
    (tmp_path / listed["weight_map"]["e"]).unlink()
    with pytest.raises(FileNotFoundError, match="00003-of-00003"):
        open_weights(tmp_path)
    index.write_text("{}")
    with pytest.raises(ValueError, match="not an index"):
        open_weights(tmp_path)
    index.with_name(f"other{INDEX}").write_text("{}")
    with pytest.raises(ValueError, match="2 indices"):
        open_weights(tmp_path)


def test_files_of_several_models_without_an_index_do_not_mix(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_file(TENSORS, str(tmp_path / f"{name}.safetensors"))
    with pytest.raises(ValueError, match="is in both"):
        open_weights(tmp_path)


def test_nothing_to_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(FileNotFoundError, match="no safetensors"):
            open_weights(path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "network.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"network\.safetensors is damaged"):
        open_weights(tmp_path)


def test_weights_that_are_no_plain_floats_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, dtype=torch.float8_e4m3fn)}, str(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match="a is of type F8_E4M3"):
        open_weights(tmp_path)


def test_the_averaged_student_of_a_pt_is_taken_out_of_its_wrappers(tmp_path: Path) -> None:
    student = {f"model._fsdp_wrapped_module.{name}": tensor for name, tensor in TENSORS.items()}
    other = {name: tensor + 1 for name, tensor in student.items()}
    torch.save({"generator": other, "generator_ema": student, "critic": {}, "step": 3}, tmp_path / "a.pt")
    stored = open_weights(tmp_path / "a.pt")
    assert stored.student == "generator_ema"
    plain = stored.without_prefixes()
    assert plain.shapes == LAYOUT
    assert all(torch.equal(plain.read(name), tensor) for name, tensor in TENSORS.items())
    torch.save({"generator": other}, tmp_path / "b.pt")
    assert torch.equal(open_weights(tmp_path / "b.pt").without_prefixes().read("a"), TENSORS["a"] + 1)
    torch.save(TENSORS, tmp_path / "c.pth")
    assert open_weights(tmp_path / "c.pth").student == ""


class Trap:
    """What a file must not be able to do."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("sprung",))


def test_no_code_of_a_pt_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"generator": {"a": torch.zeros(1)}, "trap": Trap()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="without running code"):
        open_weights(tmp_path / "a.pt")
    assert "sprung" not in capsys.readouterr().out
    (tmp_path / "b.pt").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="or is damaged"):
        open_weights(tmp_path / "b.pt")
    torch.save([torch.zeros(1)], tmp_path / "c.pt")
    with pytest.raises(ValueError, match="no weights by name"):
        open_weights(tmp_path / "c.pt")
    with pytest.raises(FileNotFoundError):
        open_weights(tmp_path / "none.pt")


def test_names_that_become_one_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match="are both x: keep one"):
        open_weights(tmp_path).renamed(lambda name: "x")
