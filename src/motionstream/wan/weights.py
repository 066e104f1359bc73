"""Weights of a `VideoDiT` on disk: safetensors only, every name accounted for.

Ours are Wan's original names. Files in the Diffusers layout are recognised and renamed while loading.
What publishers ship, and how it becomes the start of a track model, is in `published.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from motionstream.dit.model import VideoDiT
from motionstream.wan.weight_files import LIMIT, Stored, open_stored, some, write_shards

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
PATCH = "patch_embedding.weight"
"""The one weight whose size depends on what is concatenated to the latents."""


def wan_name(diffusers_name: str) -> str:
    """Name of a Diffusers weight in Wan's layout; a name that has none comes back as it is."""
    return _rename(diffusers_name, _TO_WAN)


def diffusers_name(wan_name: str) -> str:
    """Name of one of our weights in the Diffusers layout."""
    return _rename(wan_name, _TO_DIFFUSERS)


def in_wan_names(stored: Stored) -> Stored:
    """The same tensors under Wan's names: out of wrappers, and out of the Diffusers layout if that is what it is."""
    plain = stored.without_prefix()
    return plain.renamed(wan_name) if any(name.startswith("condition_embedder.") for name in plain.shapes) else plain


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


def save_sharded(
    module: nn.Module,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    metadata: Mapping[str, str] | None = None,
    limit: int = LIMIT,
) -> dict[str, str]:
    """Write a whole network to network*.safetensors in an empty folder, files of at most `limit` bytes and an index.

    metadata: goes into every file (a recipe as JSON, say). One tensor at a time is copied to the host. Returns the
    SHA-256 by file name.
    """
    state = module.state_dict()
    layout = {name: tuple(value.shape) for name, value in state.items()}
    return write_shards(folder, "network", layout, state.items(), dtype, metadata, limit)


def fill(
    module: nn.Module, tensors: Iterable[tuple[str, Tensor]], device: torch.device | str, dtype: torch.dtype
) -> None:
    """Give a network that was built on the meta device its weights, each straight to its device and dtype.

    Raises ValueError unless the tensors are exactly the network's.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in tensors:
        state[name] = torch.empty(tensor.shape, device=device, dtype=dtype).copy_(tensor)
    check_names(state, module.state_dict())
    check_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, shapes_of(module))
    module.load_state_dict(state, assign=True)


@torch.no_grad()
def load_weights(model: VideoDiT, path: Path | str, *, widen: bool = False) -> None:
    """Fill a model from a safetensors file, or from all of a folder's (shards), in Wan's or Diffusers' layout.

    The model keeps its dtype and device. widen: weights made for fewer input channels are taken for the first ones,
    the rest start at zero. (`published.converted` knows which channels of a publisher's are which of ours.)
    Nothing is written unless every name and shape fits. Raises ValueError that names what does not, and
    FileNotFoundError where there is nothing to load.
    """
    stored = in_wan_names(open_stored(path))
    state = model.state_dict()
    check_names(stored.shapes, state)
    check_shapes(stored.shapes, shapes_of(model), widen)
    for name in stored.shapes:
        _copy(state[name], stored.read(name))


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's weights by name."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def check_names(found: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises ValueError that names what is missing and what is not known."""
    found, wanted = set(found), set(wanted)
    missing, surplus = sorted(wanted - found), sorted(found - wanted)
    if missing or surplus:
        raise ValueError(f"weights do not fit the model; missing: {some(missing)}; not known: {some(surplus)}")


def check_shapes(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], widen: bool = False
) -> None:
    """Raises ValueError that names shapes which do not fit. widen: the patch embedding may have fewer channels."""
    wrong = []
    for name, shape in found.items():
        other = wanted[name]
        narrower = widen and name == PATCH and shape[0] == other[0] and shape[2:] == other[2:] and shape[1] < other[1]
        if shape != other and not narrower:
            wrong.append(f"{name} is {shape}, the model wants {other}")
    if wrong:
        raise ValueError(f"weights do not fit the model: {some(wrong)}")


def _copy(target: Tensor, value: Tensor) -> None:
    if target.shape == value.shape:
        target.copy_(value)
        return
    target.zero_()
    target[:, : value.shape[1]] = value
