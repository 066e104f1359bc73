"""Names and shapes of a `VideoDiT`'s weights. Ours are Wan's original names; the Diffusers layout is renamed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from motionstream.wan.weight_files import Shapes, WeightFiles, some

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
"""The only weight whose shape depends on the channels that are concatenated to the latents."""


def wan_name(diffusers_name: str) -> str:
    """Name of a Diffusers weight in Wan's layout; unchanged if it has none."""
    return _rename(diffusers_name, _TO_WAN)


def diffusers_name(wan_name: str) -> str:
    """Name of one of our weights in the Diffusers layout."""
    return _rename(wan_name, _TO_DIFFUSERS)


def in_wan_names(files: WeightFiles) -> WeightFiles:
    """The same tensors under Wan's names: without the prefixes of wrappers, and renamed from the Diffusers layout."""
    plain = files.without_prefixes()
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


def fill(
    module: nn.Module, tensors: Iterable[tuple[str, Tensor]], device: torch.device | str, dtype: torch.dtype
) -> None:
    """Give a network that was built on the meta device its weights, each moved straight to its device and dtype.

    Raises ValueError unless the tensors are exactly the network's.
    """
    state = {name: torch.empty(x.shape, device=device, dtype=dtype).copy_(x) for name, x in tensors}
    check_weights(shapes_of(state), shapes_of(module.state_dict()))
    module.load_state_dict(state, assign=True)


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_weights(found: Shapes, expected: Shapes, source: Path | str = "weights") -> None:
    """Raises ValueError that names the weights which are missing, unknown or of another shape. source: of the weights,
    named in the error."""
    faults = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "of another shape": [
            f"{name} {shape}, not {expected[name]}"
            for name, shape in found.items()
            if name in expected and shape != expected[name]
        ],
    }
    if any(faults.values()):
        named = "; ".join(f"{fault}: {some(names)}" for fault, names in faults.items() if names)
        raise ValueError(f"{source}: not the weights of this network; {named}")
