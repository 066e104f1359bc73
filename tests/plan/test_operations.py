"""Operations, against PyTorch's counter over a whole network and against formulas written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from motionstream.dit import RollingCache, VideoDiT
from motionstream.dit.config import DiTConfig
from motionstream.plan import ModelSizes, model_sizes
from motionstream.plan.external import CLIP_TOKENS
from motionstream.plan.operations import (
    chunk_cost,
    dit_operations,
    past_latents,
    prompt_operations,
    rollout_operations,
)
from motionstream.sampling import ModelConfig

NAMES = ("wan2.1-1.3b", "wan2.2-5b")


def with_layers(name: str, layers: int) -> DiTConfig:
    return replace(model_sizes(name).network.dit, layers=layers)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_operations_are_what_pytorch_counts_over_the_whole_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the published sizes but two layers, with the cache of a stream and plain products in attention."""
    sizes, dit = model_sizes(name), with_layers(name, 2)
    geometry, live = sizes.geometry(), sizes.live
    time = torch.empty(1, 1, dit.width, device="meta"), torch.empty(1, 1, 6, dit.width, device="meta")
    monkeypatch.setattr(VideoDiT, "embed_time", lambda model, t: time)
    with torch.device("meta"):
        model = VideoDiT(dit, kernel="matmul")
        kept = {"tokens": geometry.tokens_per_latent, "sink": live.sink, "window": live.window}
        cache = RollingCache(dit, batch=1, device="meta", **kept)
        cache.sink_filled, cache.window_seen = live.sink, live.window
        x = torch.empty(1, live.chunk, dit.in_channels, geometry.latent_height, geometry.latent_width)
        with FlopCounterMode(display=False) as prompt:
            context = model.text_context(torch.empty(1, dit.text_tokens, dit.text_dim))
        with FlopCounterMode(display=False) as forward:
            model(x, torch.empty(1), context, over=cache)
    counted = dit_operations(dit, geometry, live.chunk, past=live.sink + live.window)
    assert sum(counted.values()) == forward.get_total_flops()
    assert prompt_operations(dit) == prompt.get_total_flops()


@pytest.mark.parametrize("name", NAMES)
def test_each_part_is_its_formula(name: str) -> None:
    sizes = model_sizes(name)
    dit, tokens = sizes.network.dit, sizes.geometry().tokens_per_latent
    queries, keys, width = 3 * tokens, 9 * tokens, dit.width
    square = 2 * queries * width**2 * dit.layers
    assert chunk_cost(sizes).call == {
        "self_qkv": 3 * square,
        "self_out": square,
        "cross": 2 * square,
        "ffn": 4 * queries * width * dit.ffn * dit.layers,
        "self_attention": 4 * queries * keys * width * dit.layers,
        "cross_attention": 4 * queries * dit.text_tokens * width * dit.layers,
        "around": 2 * queries * 4 * (dit.in_channels + dit.out_channels) * width,
    }


def test_a_picture_is_attended_to_beside_the_prompt() -> None:
    plain, picture = (chunk_cost(model_sizes(name)).call for name in (NAMES[0], f"{NAMES[0]}-i2v"))
    assert picture["cross_attention"] == pytest.approx(plain["cross_attention"] * (512 + CLIP_TOKENS) / 512)


def test_a_rollout_is_its_chunks_each_with_its_past() -> None:
    assert past_latents(8, chunk=3, sink=1, window=2) == [(3, 0), (3, 3), (2, 3)]
    sizes = model_sizes(NAMES[0])
    dit, geometry = sizes.network.dit, sizes.geometry()
    chunks = (dit_operations(dit, geometry, size, past=past) for size, past in ((3, 0), (3, 3), (2, 3)))
    assert rollout_operations(dit, geometry, 8, (3, 1, 2)) == sum(sum(chunk.values()) for chunk in chunks)


def without_clean_pass(sizes: ModelSizes) -> ModelSizes:
    return replace(sizes, live=replace(sizes.live, clean_pass=False))


def test_a_stream_without_a_clean_pass_makes_one_pass_less() -> None:
    sizes = model_sizes(NAMES[0])
    with_it, without = chunk_cost(sizes), chunk_cost(without_clean_pass(sizes))
    assert (with_it.passes, with_it.calls) == (4, 3)
    assert (without.passes, without.calls) == (3, 3)
    assert without.call == with_it.call


def test_the_embedded_models_own_decoder_is_counted() -> None:
    sizes = model_sizes("tiny")
    assert isinstance(sizes.network, ModelConfig)
    assert chunk_cost(sizes).decode > 0
    assert chunk_cost(sizes).frames == sizes.live.chunk * 4
