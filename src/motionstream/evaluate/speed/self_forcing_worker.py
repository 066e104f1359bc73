"""The process in which Self-Forcing's model runs: `python -m` this, orders in on stdin, answers out, a line each.

What its code needs to run anywhere but on its authors' machines is put in from outside, for this process only: its
packages' own imports (text encoders and the like) are passed over; attention is PyTorch's, with the dtype kept; the
number of tokens in its window is that of the shape at hand; what it takes from Diffusers is stood in for where that is
not installed. Its weights are ours, so that outputs can be compared; with its own, every output would be a bias.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from motionstream.dit import VideoDiT
from motionstream.evaluate.speed.compare import chunk_inputs
from motionstream.evaluate.speed.remote import obey_orders
from motionstream.evaluate.speed.stopwatch import Stopwatch
from motionstream.evaluate.speed.untrained import ROLLING, Shape, randomised, shape_of

PACKAGES = ("wan", "wan.modules")
FASTEST = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


def attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
    """(B, L, H, D) each, in place of both of its attention functions."""
    heads = [x.transpose(1, 2) for x in (q, k, v)]
    out: Tensor = F.scaled_dot_product_attention(heads[0], heads[1], heads[2]).transpose(1, 2)
    return out.type_as(q)


def model_class(checkout: Path) -> Callable[..., nn.Module]:
    """`CausalWanModel` of a checkout. Raises ValueError where it cannot be imported."""
    sys.path.insert(0, str(checkout))
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
        sys.modules[name] = package
    if find_spec("diffusers") is None:
        _stand_in_for_diffusers()
    try:
        parts = {name: import_module(f"wan.modules.{name}") for name in ("attention", "model", "causal_model")}
        found: Callable[..., nn.Module] = parts["causal_model"].CausalWanModel
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{checkout}: its CausalWanModel cannot be imported ({error})") from error
    for part in parts.values():
        for name in ("attention", "flash_attention"):
            if callable(getattr(part, name, None)):
                setattr(part, name, attention)
    return found


def _stand_in_for_diffusers() -> None:
    """The three names that its model takes from there."""
    utils, models = ModuleType("diffusers.configuration_utils"), ModuleType("diffusers.models.modeling_utils")
    utils.ConfigMixin = type("ConfigMixin", (), {})  # type: ignore[attr-defined]
    utils.register_to_config = lambda function: function  # type: ignore[attr-defined]
    models.ModelMixin = type("ModelMixin", (nn.Module,), {})  # type: ignore[attr-defined]
    for module in (ModuleType("diffusers"), utils, ModuleType("diffusers.models"), models):
        sys.modules[module.__name__] = module


class Model:
    """Its model of a shape with sink and window full, and the chunk that follows; float32 until it is `cast`."""

    def __init__(self, checkout: Path, shape: Shape, device: torch.device, seed: int) -> None:
        config, self.tokens = shape.dit, shape.geometry.tokens_per_latent
        if config.image_dim is not None:
            raise ValueError(f"{shape.name}: Self-Forcing has no causal model with a picture branch, compare another")
        seen = ROLLING.sink + ROLLING.window + ROLLING.chunk
        with device:
            ours = VideoDiT(config)
            self.model = model_class(checkout)(
                model_type="t2v",
                patch_size=config.patch,
                text_len=config.text_tokens,
                in_dim=config.in_channels,
                dim=config.width,
                ffn_dim=config.ffn,
                freq_dim=config.freq_dim,
                text_dim=config.text_dim,
                out_dim=config.out_channels,
                num_heads=config.heads,
                num_layers=config.layers,
                local_attn_size=seen,
                sink_size=ROLLING.sink,
                qk_norm=config.qk_norm,
                cross_attn_norm=config.cross_attn_norm,
                eps=config.eps,
            )
        self.model.load_state_dict(randomised(ours, seed).state_dict())
        self.model.eval().requires_grad_(False)
        for block in self.model.blocks:  # type: ignore[union-attr]
            block.self_attn.max_attention_size = seen * self.tokens
        self.given, self.config = chunk_inputs(shape, device, seed), config
        self.seen, self.device = seen, device
        self.cast(torch.float32)

    def cast(self, dtype: torch.dtype) -> None:
        """Work in this dtype from now on, on a past made in it."""
        config = self.config
        self.model.to(dtype)
        self.given = self.given.to(dtype)
        heads = (config.heads, config.head_dim)
        keys, words = (1, self.seen * self.tokens, *heads), (1, config.text_tokens, *heads)
        self.past = [self._pair(keys, dtype) | self._ends() for _ in range(config.layers)]
        self.said = [self._pair(words, dtype) | {"is_init": torch.tensor(False)} for _ in range(config.layers)]
        for begin in range(0, ROLLING.sink + ROLLING.window, ROLLING.chunk):
            self._call(begin, torch.zeros_like(self.given.t))

    def _pair(self, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Any]:
        return {name: torch.zeros(shape, dtype=dtype, device=self.device) for name in ("k", "v")}

    def _ends(self) -> dict[str, Any]:
        return {
            name: torch.zeros(1, dtype=torch.long, device=self.device)
            for name in ("global_end_index", "local_end_index")
        }

    def __call__(self) -> Tensor:
        """Velocity of the chunk behind the past, (1, C, T, h, w)."""
        return self._call(ROLLING.sink + ROLLING.window, self.given.t)

    def _call(self, begin: int, t: Tensor) -> Tensor:
        chunk = self.given.x[:, begin : begin + ROLLING.chunk]
        out: Tensor = self.model(
            chunk.transpose(1, 2),
            t=t[:, None].expand(-1, chunk.shape[1]),
            context=self.given.text,
            seq_len=self.seen * self.tokens,
            kv_cache=self.past,
            crossattn_cache=self.said,
            current_start=begin * self.tokens,
        )
        return out


class Worker:
    """Carries out orders, one after another."""

    def __init__(self) -> None:
        self.model: Model | None = None
        self.watch = Stopwatch(torch.device("cpu"))

    @torch.inference_mode()
    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to one order."""
        if order["do"] == "open":
            torch.set_num_threads(order["threads"])
            device = torch.device(order["device"])
            shape = shape_of(order["name"], order["layers"], order["reduced"], tuple(order["size"]))
            self.watch = Stopwatch(device)
            self.model = Model(Path(order["checkout"]), shape, device, order["seed"])
            return {}
        assert self.model is not None
        model = self.model
        if order["do"] == "cast":
            model.cast(getattr(torch, order["dtype"]))
            return {}
        with sdpa_kernel(FASTEST, set_priority=True) if order["backend"] == "cudnn" else nullcontext():
            if order["do"] == "output":
                save_file({"output": model().transpose(1, 2).float().cpu().contiguous()}, order["file"])
                return {}
            model()
            times = [self.watch.timed(model)[1] for _ in range(order["calls"])]
        return {"took": [(took.wall, took.process, took.device) for took in times]}


def main() -> None:
    """Until stdin ends."""
    obey_orders(Worker().obey)


if __name__ == "__main__":
    main()
