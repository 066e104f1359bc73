"""Optimisers, the learning rate over a run, and the one place where weights change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from motionstream.train.ema import EMA
from motionstream.train.parallelize import any_rank, as_sharded_as, average_gradients, whole
from motionstream.train.recipe import Recipe

KINDS = ("adamw", "muon")
# Muon is for hidden matrices; a matrix whose name has one of these in it feeds or reads the network, or modulates it.
OUTSIDE = ("embed", "head", "modulation", "projection")
BETAS = (0.9, 0.99)
"""AdamW's, where the target stands still, so that gradients may be averaged over many steps."""


class Optimizer:
    """AdamW, or Muon with AdamW for the rest, behind one `step` and one `state_dict`.

    Rates and decays belong to the recipe and are not restored; moments are, by parameter name.
    """

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer], names: Mapping[nn.Parameter, str]) -> None:
        self.parts, self.names = dict(parts), names
        groups = [group for part in self.parts.values() for group in part.param_groups]
        self._base = [(group, float(group["lr"])) for group in groups]

    def set_rate(self, factor: float) -> float:
        """Every group's learning rate = what it was made with × factor; returns the largest."""
        for group, base in self._base:
            group["lr"] = base * factor
        return max(base for _, base in self._base) * factor

    def step(self) -> None:
        for part in self.parts.values():
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def parameters(self) -> Iterable[nn.Parameter]:
        for group, _ in self._base:
            yield from group["params"]

    def state_dict(self) -> dict[str, Any]:
        """Part → parameter name → its moments."""
        return {
            kind: {self.names[cast(nn.Parameter, p)]: dict(s) for p, s in part.state.items()}
            for kind, part in self.parts.items()
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Raises ValueError if the state was saved for other parts or parameters."""
        if set(state) != set(self.parts):
            raise ValueError(f"saved optimiser has {sorted(state)}, this recipe has {sorted(self.parts)}")
        by_name = {name: parameter for parameter, name in self.names.items()}
        for kind, part in self.parts.items():
            own = {p for group in part.param_groups for p in group["params"]}
            part.state.clear()
            for name, moments in state[kind].items():
                if by_name.get(name) not in own:
                    raise ValueError(f"saved {kind} state is for {name!r}, which this model does not train with it")
                part.state[by_name[name]] = _placed(moments, by_name[name])


def _placed(moments: Mapping[str, Any], parameter: nn.Parameter) -> dict[str, Any]:
    """Moments laid out as their parameter is: over ranks, and in memory, where fused kernels walk them side by side."""
    placed = {}
    for key, value in moments.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
            own = torch.empty_like(parameter.detach(), dtype=value.dtype)
            value = own.copy_(as_sharded_as(value.to(parameter.device), parameter))
        elif isinstance(value, Tensor):
            value = value.to(parameter.device)  # AdamW's fused form counts steps on the device
        placed[key] = value
    return placed


def make_optimizer(
    module: nn.Module,
    lr: float,
    weight_decay: float = 0.01,
    kind: str = "adamw",
    betas: tuple[float, float] = BETAS,
) -> Optimizer:
    """Optimiser of a module, over what requires gradients.

    kind "muon": hidden matrices by Muon (its updates scaled to AdamW's size, so one lr fits both), the rest by AdamW:
    vectors, embeddings and what `OUTSIDE` names. Vectors are not decayed.
    """
    if kind not in KINDS:
        raise ValueError(f"optimizer {kind!r}: use one of {', '.join(KINDS)}")
    names = {p: name for name, p in module.named_parameters() if p.requires_grad}
    if not names:
        raise ValueError("nothing to train: no parameter requires a gradient")
    embeddings = {m.weight for m in module.modules() if isinstance(m, nn.Embedding)}
    hidden = [
        p
        for p, name in names.items()
        if kind == "muon" and p.ndim == 2 and p not in embeddings and not any(word in name for word in OUTSIDE)
    ]
    rest = [p for p in names if p not in set(hidden)]
    parts: dict[str, torch.optim.Optimizer] = {}
    if hidden:
        parts["muon"] = _muon(hidden, lr, weight_decay)
    if rest:
        parts["adamw"] = _adamw(rest, lr, weight_decay, betas)
    return Optimizer(parts, names)


def _adamw(
    parameters: list[nn.Parameter], lr: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas, fused=True)


def _muon(parameters: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"optimizer 'muon' needs torch 2.9 or newer, this is {torch.__version__}: use 'adamw'")
    muon: torch.optim.Optimizer = torch.optim.Muon(
        parameters, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return muon


@dataclass(frozen=True)
class Schedule:
    """Learning rate over a run, as a factor: linear warm-up, constant, linear decay to 0 over the last part.

    warmup_steps: steps of the warm-up. decay_fraction: the last part of the run, 0 … 1.
    """

    warmup_steps: int = 0
    decay_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0 or not 0 <= self.decay_fraction <= 1:
            raise ValueError(f"{self}: warmup_steps ≥ 0; decay_fraction in [0, 1]")

    def __call__(self, step: int, progress: float) -> float:
        """The factor at a step (steps done before it) and a progress ∈ [0, 1] of the whole run."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        left = 1 - min(max(progress, 0.0), 1.0)
        return warm * (min(1.0, left / self.decay_fraction) if self.decay_fraction else 1.0)


@dataclass(eq=False)
class Updater:
    """From losses to changed weights: backward, mean over ranks, clip, rate, step, average.

    `backward` once a pass, `accumulate` passes a step, then `apply`. A step whose loss or gradient is not finite
    changes nothing.
    """

    module: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    clip: float = 1.0
    accumulate: int = 1
    ema: EMA[Any] | None = None
    _finite: bool = field(default=True, init=False)
    _means: dict[str, float] = field(default_factory=dict, init=False)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        module: nn.Module,
        ema: EMA[Any] | None = None,
        lr: float | None = None,
        betas: tuple[float, float] = BETAS,
    ) -> Updater:
        """With the recipe's settings. lr: another rate than the recipe's. betas: AdamW's."""
        optimizer = make_optimizer(module, lr or recipe.lr, recipe.weight_decay, recipe.optimizer, betas)
        schedule = Schedule(recipe.warmup_steps, recipe.decay_fraction)
        return cls(module, optimizer, schedule, recipe.clip, recipe.accumulate, ema)

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Add the gradient of a pass, losses["loss"] / accumulate, and what it reports."""
        loss = losses["loss"]
        self._finite &= bool(torch.isfinite(loss.detach()))
        (loss / self.accumulate).backward()
        for name, value in losses.items():
            self._means[name] = self._means.get(name, 0.0) + float(value.detach()) / self.accumulate

    def apply(self, step: int, progress: float) -> dict[str, float]:
        """Change the weights once. Returns the means of what the passes reported, "grad_norm" (before clipping), "lr"
        and "skipped" (1 if nothing changed)."""
        parameters = list(self.optimizer.parameters())
        average_gradients(parameters)
        norm = float(whole(nn.utils.clip_grad_norm_(parameters, self.clip or math.inf)))
        rate = self.optimizer.set_rate(self.schedule(step, progress))
        skipped = any_rank(not (self._finite and math.isfinite(norm)))
        if not skipped:
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update(self.module)
        self.optimizer.zero_grad()
        means, self._means, self._finite = self._means, {}, True
        return means | {"grad_norm": norm if math.isfinite(norm) else 0.0, "lr": rate, "skipped": float(skipped)}
