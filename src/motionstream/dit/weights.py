"""Weights of a `VideoDiT` on disk: safetensors only, every name accounted for.

Ours are Wan's original names. Files in the Diffusers layout are recognised and renamed while loading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from motionstream.dit.model import VideoDiT

# (Diffusers, Wan), each a whole module path; `#` stands for a block's number.
_RENAMED = (
    ("scale_shift_table", "head.modulation"),
    ("proj_out", "head.head"),
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.image_embedder.norm1", "img_emb.proj.0"),
    ("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
    ("condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"),
    ("condition_embedder.image_embedder.norm2", "img_emb.proj.4"),
    ("blocks.#.scale_shift_table", "blocks.#.modulation"),
    ("blocks.#.norm2", "blocks.#.norm3"),
    ("blocks.#.ffn.net.0.proj", "blocks.#.ffn.0"),
    ("blocks.#.ffn.net.2", "blocks.#.ffn.2"),
    *(
        (f"blocks.#.attn{number}.{theirs}", f"blocks.#.{name}.{ours}")
        for number, name in ((1, "self_attn"), (2, "cross_attn"))
        for theirs, ours in (
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "o"),
            ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    ),
    ("blocks.#.attn2.add_k_proj", "blocks.#.cross_attn.k_img"),
    ("blocks.#.attn2.add_v_proj", "blocks.#.cross_attn.v_img"),
    ("blocks.#.attn2.norm_added_k", "blocks.#.cross_attn.norm_k_img"),
)
_TO_WAN = dict(_RENAMED)
_TO_DIFFUSERS = {ours: theirs for theirs, ours in _RENAMED}
_WIDENED = "patch_embedding.weight"


def wan_name(diffusers_name: str) -> str:
    """Name of a Diffusers weight in Wan's layout; a name that has none comes back as it is."""
    return _rename(diffusers_name, _TO_WAN)


def diffusers_name(wan_name: str) -> str:
    """Name of one of our weights in the Diffusers layout."""
    return _rename(wan_name, _TO_DIFFUSERS)


def _rename(name: str, table: dict[str, str]) -> str:
    number = re.match(r"blocks\.(\d+)\.", name)
    pattern = re.sub(r"^blocks\.\d+\.", "blocks.#.", name)
    module, _, leaf = pattern.rpartition(".")
    if pattern in table:
        renamed = table[pattern]
    elif module in table:
        renamed = f"{table[module]}.{leaf}"
    else:
        return name
    return renamed.replace("#", number.group(1)) if number else renamed


def save_weights(model: VideoDiT, path: Path | str, metadata: dict[str, str] | None = None) -> None:
    """Write all weights in their dtype under Wan's names to one safetensors file."""
    state = {name: value.detach().contiguous().cpu() for name, value in model.state_dict().items()}
    save_file(state, str(path), metadata)


@torch.no_grad()
def load_weights(model: VideoDiT, path: Path | str, *, widen: bool = False) -> None:
    """Fill a model from a safetensors file, or from all of a folder's (shards), in Wan's or Diffusers' layout.

    The model keeps its dtype and device. widen: weights made for fewer input channels are taken for the first ones,
    the rest start at zero: how a published model takes up track conditioning.
    Nothing is written unless every name and shape fits. Raises ValueError that names what does not, and
    FileNotFoundError where there is nothing to load.
    """
    where = _locate(Path(path))
    state = model.state_dict()
    _check_names(where, state)
    _check_shapes(where, state, widen)
    for name, (file, stored) in where.items():
        with safe_open(file, framework="pt") as opened:
            _fill(state[name], opened.get_tensor(stored))


def _locate(path: Path) -> dict[str, tuple[Path, str]]:
    """Our name → (file, name in the file)."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise FileNotFoundError(f"no safetensors file at {path}")
    found: dict[str, tuple[Path, str]] = {}
    for file in files:
        for name in _names(file):
            if name in found:
                raise ValueError(f"{name} is in both {found[name][0]} and {file}: keep one copy")
            found[name] = file, name
    if any(name.startswith("condition_embedder.") for name in found):
        return {wan_name(name): place for name, place in found.items()}
    return found


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _check_names(where: Iterable[str], state: Iterable[str]) -> None:
    missing, surplus = sorted(set(state) - set(where)), sorted(set(where) - set(state))
    if missing or surplus:
        raise ValueError(f"weights do not fit the model; missing: {_some(missing)}; not known: {_some(surplus)}")


def _check_shapes(where: dict[str, tuple[Path, str]], state: dict[str, Tensor], widen: bool) -> None:
    wrong = []
    for name, (file, stored) in where.items():
        with safe_open(file, framework="pt") as opened:
            shape = tuple(opened.get_slice(stored).get_shape())
        wanted = tuple(state[name].shape)
        narrower = widen and name == _WIDENED and shape[0] == wanted[0] and shape[2:] == wanted[2:]
        if shape != wanted and not (narrower and shape[1] < wanted[1]):
            wrong.append(f"{name} is {shape}, the model wants {wanted}")
    if wrong:
        raise ValueError(f"weights do not fit the model: {_some(wrong)}")


def _some(names: list[str], shown: int = 8) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (", ".join(names[:shown]) or "none") + more


def _fill(target: Tensor, value: Tensor) -> None:
    if target.shape == value.shape:
        target.copy_(value)
        return
    target.zero_()
    target[:, : value.shape[1]] = value
