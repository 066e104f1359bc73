"""Several processes, put on from outside: models and stages are written for one device.

Started by torchrun, `setup_distributed` joins the group; then either every rank holds the whole model and
`average_gradients` makes the ranks agree, or `shard` splits it (FSDP2). In a single process all of this does nothing.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before there is a group: defaults of its functions would hold it for good
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor


def setup_distributed(device: str = "auto") -> torch.device:
    """Join the group torchrun describes in the environment (NCCL on GPUs, gloo on CPUs), if any; this rank's device.

    device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N"; under torchrun each rank takes its own GPU.
    """
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return torch.device(kind)
    if kind.startswith("cuda"):
        kind = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(torch.device(kind))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if kind.startswith("cuda") else "gloo")
    return torch.device(kind)


def close_distributed() -> None:
    """Leave the group, if there is one, and end its threads.

    The threads end with the group's last reference. One that outlives the interpreter ends the process with SIGABRT
    once in a while (pytorch#179291, #190489), so nothing may hold it: sharded modules do in cycles, and caches of
    DTensor hold their mesh, which holds the group.
    """
    if not dist.is_initialized():
        return
    dist.destroy_process_group()
    for mesh in _meshes.values():
        getattr(mesh, "_pg_registry", {}).clear()  # newer torch's; an older one's mesh has the group's name alone
    _meshes.clear()
    gc.collect()


_meshes: dict[str, DeviceMesh] = {}
"""All ranks, on each kind of device that something is split on."""


def _mesh(kind: str) -> DeviceMesh:
    if kind not in _meshes:
        _meshes[kind] = init_device_mesh(kind, (world_size(),))
    return _meshes[kind]


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def shard(module: nn.Module, blocks: Iterable[nn.Module] = (), dtype: torch.dtype | None = None) -> nn.Module:
    """Split the module's weights over the ranks: each block a unit, then the rest. Nothing in a single process.

    blocks: inner ones before those that hold them. dtype: in which the blocks' weights are gathered and used; what is
    split stays as it is, and gradients are summed in float32.
    """
    if world_size() == 1:
        return module
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    # It warns of views given back, which must not be changed in place: what a network gives back never is.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor", category=UserWarning)
    # Inputs are left alone: times in half precision would be other times.
    summed = None if dtype is None else torch.float32
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=summed, cast_forward_inputs=False)
    mesh = _mesh(next(module.parameters()).device.type)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh)
    return module


def gathers_for(module: nn.Module, method: str) -> None:
    """Let a method of a sharded module find its weights whole, as `forward` does. Nothing in a single process."""
    if world_size() == 1:
        return
    from torch.distributed.fsdp import register_fsdp_forward_method

    register_fsdp_forward_method(module, method)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean of each gradient over the ranks. Sharded ones are averaged by FSDP2 already and left alone.

    A parameter without a gradient here may have one on another rank, so zeros are sent for it.
    """
    ranks = world_size()
    if ranks == 1:
        return
    for parameter in parameters:
        if not parameter.requires_grad or isinstance(parameter, DTensor):
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= ranks


def any_rank(flag: bool) -> bool:
    """True on every rank if it is true on one."""
    return any(from_all_ranks(flag))


def from_all_ranks(item: Any) -> list[Any]:
    """One item from each rank, in order of rank, on every rank."""
    if world_size() == 1:
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def whole(tensor: Tensor) -> Tensor:
    """The unsharded tensor (every rank must ask, in the same order)."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """The unsharded tensor in the first rank, an empty one in the others (every rank must ask, in the same order).

    So a checkpoint of a model that no single machine's ranks could all hold is in one rank's memory alone.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    full = tensor.full_tensor()
    return full.cpu() if rank() == 0 else full.new_empty(0, device="cpu")


def as_sharded_as(tensor: Tensor, reference: Tensor) -> Tensor:
    """A whole tensor laid out over the ranks as the reference is."""
    if not isinstance(reference, DTensor) or tensor.shape != reference.shape:
        return tensor
    return distribute_tensor(tensor.to(reference.device), reference.device_mesh, reference.placements)
