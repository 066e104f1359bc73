"""Sizes, initialisation, gradients, and what VideoDiT refuses."""

from dataclasses import replace

import pytest
import torch

from motionstream.dit import CONFIGS, ChunkMask, RollingCache, VideoDiT
from motionstream.dit.attention import Kernel, attend
from motionstream.dit.rope import rotary_table, rotate, split_head

SMALL = replace(CONFIGS["tiny"], width=24, heads=2, layers=2, ffn=48, in_channels=5, out_channels=3, text_dim=8)


def small() -> VideoDiT:
    torch.manual_seed(0)
    return VideoDiT(SMALL)


def inputs(latents: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(2, latents, 5, 4, 6), torch.rand(2) * 1000, torch.randn(2, 3, 8)


@pytest.mark.parametrize(("name", "count"), [("wan2.1-1.3b", 1_418_996_800), ("wan2.2-5b", 4_999_787_712)])
def test_published_sizes(name: str, count: int) -> None:
    with torch.device("meta"):
        model = VideoDiT(CONFIGS[name])
    assert sum(p.numel() for p in model.parameters()) == count


def test_untrained_model_predicts_zero_and_gets_gradients_everywhere_once_its_head_is_not() -> None:
    model = small()
    x, t, text = inputs()
    assert not model(x, t, text).any()
    torch.nn.init.normal_(model.head.head.weight)
    model(x, t, text).square().mean().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_autocast_and_bf16_stay_close_to_float32() -> None:
    model = small().eval()
    torch.nn.init.normal_(model.head.head.weight, std=0.2)
    x, t, text = inputs()
    with torch.no_grad():
        exact = model(x, t, text)
        with torch.autocast("cpu", torch.bfloat16):
            automatic = model(x, t, text)
        half = model.bfloat16()(x.bfloat16(), t, text.bfloat16())
    for rounded in (automatic, half):
        assert (rounded.float() - exact).std() < 0.02 * exact.std()


def test_inference_mode_leaves_nothing_that_training_trips_over() -> None:
    model, (x, t, text) = small(), inputs(3)
    torch.nn.init.normal_(model.head.head.weight)
    with torch.inference_mode():
        cache = RollingCache(SMALL, batch=2, tokens=6, sink=3, window=3)
        model(x, t, text, over=cache, commit=True)
        model(x, t, text)
    model(x, t, text, over=cache).square().mean().backward()
    model(x, t, text).square().mean().backward()
    assert model.blocks[0].self_attn.q.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 2, 4, 4, 6)}, "latents of shape"),
        ({"x": torch.zeros(2, 2, 5, 5, 6)}, "multiples of 2"),
        ({"t": torch.zeros(2, 3)}, r"timesteps of shape \(2, 3\)"),
        ({"text": torch.zeros(2, 3, 9)}, "text of shape"),
        ({"over": ChunkMask.regular(4, 2, 1, 1)}, "the mask is for 4 latents, x has 2"),
        ({"commit": True}, "without a cache"),
        ({"over": RollingCache(SMALL, batch=1, tokens=6, sink=1, window=1)}, "the cache is for batch 1"),
        ({"over": RollingCache(SMALL, batch=2, tokens=4, sink=1, window=1)}, "of 4 tokens a latent"),
    ],
)
def test_refuses_what_does_not_fit(change: dict, message: str) -> None:
    x, t, text = inputs()
    given = {"x": x, "t": t, "text": text, **change}
    ways = {name: given[name] for name in ("over", "commit") if name in given}
    with pytest.raises(ValueError, match=message):
        small()(given["x"], given["t"], given["text"], **ways)


def test_refuses_impossible_sizes() -> None:
    for change in ({"heads": 5}, {"patch": (2, 2, 2)}, {"freq_dim": 5}, {"heads": 6}):
        with pytest.raises(ValueError, match=r"width|patch|freq_dim|head size"):
            replace(SMALL, **change)
    with pytest.raises(ValueError, match="follow one another"):
        ChunkMask(((0, 2), (3, 2)), 1, 1)
    with pytest.raises(ValueError, match="count latents"):
        ChunkMask.regular(4, 2, -1, 1)
    with pytest.raises(ValueError, match="count latents"):
        RollingCache(SMALL, batch=1, tokens=1, sink=1, window=-1)


def test_image_branch_and_its_absence_are_told_apart() -> None:
    with pytest.raises(ValueError, match="does not take"):
        small().text_context(torch.zeros(1, 3, 8), torch.zeros(1, 4, 6))
    with pytest.raises(ValueError, match="needs"):
        VideoDiT(replace(SMALL, image_dim=6)).text_context(torch.zeros(1, 3, 8))


def test_snapshot_of_other_sizes_is_refused() -> None:
    def cache(tokens: int = 6, window: int = 2) -> RollingCache:
        return RollingCache(SMALL, batch=2, tokens=tokens, sink=1, window=window)

    filled = cache()
    x, t, text = inputs()
    with torch.no_grad():
        small()(x, t, text, over=filled, commit=True)
    with pytest.raises(ValueError, match="sink 1 and window 2"):
        cache(window=3).restore(filled.snapshot())
    with pytest.raises(ValueError, match="this cache needs"):
        cache(tokens=5).restore(filled.snapshot())


@pytest.mark.parametrize("shape", [(1, 5, 5, 2, 8), (3, 7, 19, 1, 16)])
def test_kernels_agree(shape: tuple[int, int, int, int, int]) -> None:
    torch.manual_seed(0)
    B, Lq, Lk, H, D = shape
    q, k, v = torch.randn(B, Lq, H, D), torch.randn(B, Lk, H, D), torch.randn(B, Lk, H, D)
    exact = attend(q, k, v, kernel="sdpa")
    torch.testing.assert_close(attend(q, k, v, kernel="matmul"), exact, atol=1e-6, rtol=0)
    kernels: tuple[Kernel, ...] = ("auto", "sdpa", "matmul")
    for kernel in kernels:
        half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), kernel=kernel)
        assert (half.float() - exact).abs().max() < 0.03


def test_rotary_scores_depend_on_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 15, 2, 32), torch.randn(1, 1, 15, 2, 32)

    def scores(at_q: float, at_k: float) -> torch.Tensor:
        turned = (rotate(x, rotary_table([at], (3, 5), 32, "cpu")) for x, at in ((q, at_q), (k, at_k)))
        return torch.einsum("btqhd,btkhd->bhqk", *turned)

    torch.testing.assert_close(scores(7, 4), scores(103, 100), atol=1e-4, rtol=0)
    assert (scores(7, 4) - scores(7, 5)).abs().max() > 0.1
    assert sum(split_head(128)) == 128
    assert split_head(128) == (44, 42, 42)
