"""Operations, against PyTorch's counter over a whole network and against formulas written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from motionstream.dit import RollingCache, VideoDiT
from motionstream.dit.config import DiTConfig
from motionstream.plan.external import CLIP_TOKENS
from motionstream.plan.models import model_sizes
from motionstream.plan.operations import dit_operations, prompt_operations

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


def live_pass(name: str) -> dict[str, int]:
    """Of a pass over a chunk of a stream whose sink and window are full."""
    sizes = model_sizes(name)
    past = sizes.live.sink + sizes.live.window
    return dit_operations(sizes.network.dit, sizes.geometry(), sizes.live.chunk, past=past)


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_is_its_formula(name: str) -> None:
    sizes = model_sizes(name)
    dit, tokens = sizes.network.dit, sizes.geometry().tokens_per_latent
    queries, keys, width = 3 * tokens, 9 * tokens, dit.width
    projections = 6 * 2 * queries * width**2  # queries, keys, values and output; queries and output of the prompt's
    feed_forward = 4 * queries * width * dit.ffn
    around = 2 * queries * 4 * (dit.in_channels + dit.out_channels) * width
    assert live_pass(name) == {
        "linear": (projections + feed_forward) * dit.layers + around,
        "attention": 4 * queries * (keys + dit.text_tokens) * width * dit.layers,
    }


def test_a_picture_is_attended_to_beside_the_prompt() -> None:
    plain, picture = live_pass(NAMES[0]), live_pass(f"{NAMES[0]}-i2v")
    sizes = model_sizes(NAMES[0])
    dit, queries = sizes.network.dit, 3 * sizes.geometry().tokens_per_latent
    assert picture["attention"] - plain["attention"] == 4 * queries * CLIP_TOKENS * dit.width * dit.layers
