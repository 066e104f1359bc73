"""The kernels, in Triton. One program takes one token (or one stretch of a row), and reads and writes it once.

A token's sum is rounded to the dtype of x before it is normed, and a key before it is turned: as the plain forms do, so
that what is stored and what is used are one.
Legend: B batch, T latents, S tokens of a latent, W width, H heads, D channels of a head.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from motionstream.fast.kernels.table import E4M3, HIGHEST, LEAST_SCALE, Pair, modulation_rows

try:
    import triton
    import triton.language as tl
except ModuleNotFoundError:  # a machine without accelerators can still import this file, and read it
    triton = tl = None

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def jit(kernel: Kernel) -> Any:
    """Triton's, where there is one."""
    return kernel if triton is None else triton.jit(kernel)


@jit
def _add_norm(
    x,  # (tokens, W)
    branch,  # (tokens, W), if ADDS
    gate,  # (n, W), if GATED; each row of it for tokens / n tokens
    weight,  # (n, W)
    bias,  # (n, W)
    added,  # out (tokens, W), if ADDS
    normed,  # out (tokens, W)
    per_gate,  # tokens that share a row of the gate
    per_scale,  # tokens that share a row of weight and bias
    eps,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,  # the power of two from WIDTH up
    ADDS: tl.constexpr,
    GATED: tl.constexpr,
    OFFSET: tl.constexpr,  # 1 where `weight` is a scale around 0
):
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    here = token * WIDTH + column
    value = tl.load(x + here, mask=inside, other=0.0).to(tl.float32)
    if ADDS:
        more = tl.load(branch + here, mask=inside, other=0.0).to(tl.float32)
        if GATED:
            row = token // per_gate * WIDTH + column
            more *= tl.load(gate + row, mask=inside, other=0.0).to(tl.float32)
        rounded = (value + more).to(added.dtype.element_ty)
        tl.store(added + here, rounded, mask=inside)
        value = rounded.to(tl.float32)
    mean = tl.sum(value, axis=0) / WIDTH
    apart = tl.where(inside, value - mean, 0.0)
    unit = apart * tl.rsqrt(tl.sum(apart * apart, axis=0) / WIDTH + eps)
    row = token // per_scale * WIDTH + column
    by = tl.load(weight + row, mask=inside, other=0.0).to(tl.float32) + OFFSET
    plus = tl.load(bias + row, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + here, (unit * by + plus).to(normed.dtype.element_ty), mask=inside)


@jit
def _norm_rope_store(
    qkv,  # (B, L, 3 W)
    norm_q,  # (W,)
    norm_k,  # (W,)
    cos,  # (L, D/2)
    sin,  # (L, D/2)
    queries,  # out (B, L, W)
    keys,  # out, tokens of one clip behind one another
    values,  # out, the same
    tokens,  # L
    key_clip,  # elements from one clip to the next
    value_clip,
    eps,
    WIDTH: tl.constexpr,
    HALF_HEAD: tl.constexpr,  # D/2
    BLOCK: tl.constexpr,  # the power of two from WIDTH/2 up
):
    row = tl.program_id(0).to(tl.int64)
    clip, token = row // tokens, row % tokens
    pair = tl.arange(0, BLOCK)
    inside = pair < WIDTH // 2
    even = 2 * pair
    turn = token * HALF_HEAD + pair % HALF_HEAD
    c = tl.load(cos + turn, mask=inside, other=0.0)
    s = tl.load(sin + turn, mask=inside, other=0.0)
    for which in tl.static_range(2):
        source = qkv + row * 3 * WIDTH + which * WIDTH + even
        norm = norm_k if which else norm_q
        a = tl.load(source, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(source + 1, mask=inside, other=0.0).to(tl.float32)
        inverse = tl.rsqrt(tl.sum(a * a + b * b, axis=0) / WIDTH + eps)
        a = a * inverse * tl.load(norm + even, mask=inside, other=0.0).to(tl.float32)
        b = b * inverse * tl.load(norm + even + 1, mask=inside, other=0.0).to(tl.float32)
        a = a.to(queries.dtype.element_ty)
        b = b.to(queries.dtype.element_ty)
        a = a.to(tl.float32)
        b = b.to(tl.float32)
        if which:  # noqa: SIM108  # two branches of one kernel, not a choice made in it
            target = keys + clip * key_clip + token * WIDTH + even
        else:
            target = queries + row * WIDTH + even
        tl.store(target, (a * c - b * s).to(target.dtype.element_ty), mask=inside)
        tl.store(target + 1, (a * s + b * c).to(target.dtype.element_ty), mask=inside)
    for half in tl.static_range(2):
        column = half * BLOCK + pair
        v = tl.load(qkv + row * 3 * WIDTH + 2 * WIDTH + column, mask=column < WIDTH, other=0.0)
        target = values + clip * value_clip + token * WIDTH + column
        tl.store(target, v.to(values.dtype.element_ty), mask=column < WIDTH)


@jit
def _quantise_rows(
    x,  # (rows, K)
    values,  # out (rows, K), e4m3
    scales,  # out (rows,)
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    HIGHEST: tl.constexpr,
    LEAST: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    value = tl.load(x + row * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.div_rn(tl.max(tl.abs(value), axis=0), HIGHEST), LEAST)
    scaled = tl.div_rn(value, scale)
    scaled = tl.minimum(tl.maximum(scaled, -HIGHEST), HIGHEST)
    tl.store(values + row * WIDTH + column, scaled.to(values.dtype.element_ty), mask=inside)
    tl.store(scales + row, scale)


def norm_modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    return _added_and_normed(x, None, None, modulation_rows(scale, x), modulation_rows(shift, x), eps, 1.0)[1]


def add_gated_norm(x: Tensor, branch: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Pair:
    rows = modulation_rows(weight, x), modulation_rows(bias, x)
    return _added_and_normed(x, branch, modulation_rows(gate, x), *rows, eps, 0.0)


def add_norm_modulate(x: Tensor, branch: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Pair:
    return _added_and_normed(x, branch, None, modulation_rows(scale, x), modulation_rows(shift, x), eps, 1.0)


def add_gated_norm_modulate(x: Tensor, branch: Tensor, gate: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Pair:
    rows = modulation_rows(scale, x), modulation_rows(shift, x)
    return _added_and_normed(x, branch, modulation_rows(gate, x), *rows, eps, 1.0)


def norm_rope_store(
    qkv: Tensor,
    norm_q: Tensor,
    norm_k: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    eps: float,
) -> Tensor:
    heads, channels = keys.shape[-2:]
    width = heads * channels
    qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
    _check_slots(qkv, cos, keys, values)
    queries = qkv.new_empty((*qkv.shape[:-1], heads, channels))
    rows, tokens = qkv.numel() // (3 * width), qkv.shape[1] * qkv.shape[2]
    with torch.cuda.device_of(qkv):
        _norm_rope_store[(rows,)](
            *(qkv, norm_q, norm_k, cos, sin, queries, keys, values),
            *(tokens, keys.stride(0), values.stride(0), eps),
            WIDTH=width,
            HALF_HEAD=channels // 2,
            BLOCK=_power(width // 2),
            num_warps=_warps(width // 2),
        )
    return queries


def quantise_rows(x: Tensor) -> Pair:
    x, (rows, width) = x.contiguous(), x.shape
    values, scales = torch.empty_like(x, dtype=E4M3), x.new_empty((rows, 1), dtype=torch.float32)
    with torch.cuda.device_of(x):
        _quantise_rows[(rows,)](
            *(x, values, scales),
            WIDTH=width,
            BLOCK=_power(width),
            HIGHEST=HIGHEST,
            LEAST=LEAST_SCALE,
            num_warps=_warps(width),
        )
    return values, scales


def _added_and_normed(
    x: Tensor, branch: Tensor | None, gate: Tensor | None, weight: Tensor, bias: Tensor, eps: float, offset: float
) -> Pair:
    """x plus the branch, if there is one, and the norm of that. gate, weight, bias: rows (N, W)."""
    if weight.shape != bias.shape:
        raise ValueError(f"scale {tuple(weight.shape)} and shift {tuple(bias.shape)}: send both of one shape")
    x, width = x.contiguous(), x.shape[-1]
    tokens = x.numel() // width
    other = x if branch is None else branch.contiguous()
    lets = weight if gate is None else gate.contiguous()
    added = x if branch is None else torch.empty_like(x)
    normed = torch.empty_like(x)
    with torch.cuda.device_of(x):
        _add_norm[(tokens,)](
            *(x, other, lets, weight.contiguous(), bias.contiguous(), added, normed),
            *(tokens // len(lets), tokens // len(weight), eps),
            WIDTH=width,
            BLOCK=_power(width),
            ADDS=branch is not None,
            GATED=gate is not None,
            OFFSET=offset,
            num_warps=_warps(width),
        )
    return added, normed


def _check_slots(qkv: Tensor, cos: Tensor, keys: Tensor, values: Tensor) -> None:
    """Raises ValueError on slots of another shape than the tokens', or whose tokens do not lie behind one another."""
    batch, latents, tokens, _ = qkv.shape
    heads, channels = keys.shape[-2:]
    wanted = (batch, latents, tokens, heads, channels)
    for name, slot in (("keys", keys), ("values", values)):
        if tuple(slot.shape) != wanted or not slot[0].is_contiguous():
            raise ValueError(f"{name} {tuple(slot.shape)}: send {wanted}, each clip's part of one piece")
    if qkv.shape[-1] != 3 * heads * channels or cos.numel() != latents * tokens * channels // 2:
        raise ValueError(f"qkv {tuple(qkv.shape)} and cos {tuple(cos.shape)} do not fit keys {wanted}")


def _power(count: int) -> int:
    """The power of two from `count` up."""
    return 1 << (count - 1).bit_length()


def _warps(count: int) -> int:
    """Of 32 threads: some 8 elements a thread."""
    return min(max(_power(count) // 256, 1), 16)
