"""TAEHV: one function however the clip is cut, equal to a slow decoder frame by frame, and strict about its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tests.small import randomised
from tests.vae.in_steps import decode_in_steps, two_go_on_from_one_point
from torch import Tensor

from motionstream.wan.taehv import PUBLISHED, TaehvConfig, TaehvDecoder, config_of

SMALL = {
    "wan2.1": TaehvConfig(latent_channels=6, patch=1, widths=(10, 8, 6, 5)),
    "wan2.2": TaehvConfig(latent_channels=8, patch=2, widths=(8, 6, 6, 4)),
}
KINDS = list(SMALL)
PARTITIONS = [(1, 1, 1, 1, 1), (3, 2), (1, 4), (2, 1, 2)]
EXACT = {"atol": 1e-12, "rtol": 0}
"""In float64: what is left is rounding."""

Weights = dict[str, Tensor]


@torch.no_grad()
def small_decoder(kind: str = "wan2.1") -> TaehvDecoder:
    """With random weights, its frames spread over the range: clamped ones would be equal whatever was wrong."""
    torch.manual_seed(0)
    decoder = TaehvDecoder(SMALL[kind])
    randomised(decoder, std=0.2).requires_grad_(False)
    last = decoder.decoder[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    frames = (decoder(latents_for(decoder, 3), None)[0] + 1) / 2
    last.weight *= 0.2 / frames.std()
    last.bias.copy_((last.bias - frames.mean()) * 0.2 / frames.std() + 0.5)
    return decoder


def latents_for(decoder: TaehvDecoder, steps: int, clips: int = 2) -> Tensor:
    dtype = next(decoder.parameters()).dtype
    return 2 * torch.randn(clips, steps, decoder.latent_channels, 3, 5, dtype=dtype)


class Slow:
    """The published algorithm, straight from the weights: one time step through one layer after another."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.past: dict[int, Tensor] = {}

    def conv(self, x: Tensor, name: str) -> Tensor:
        weight = self.weights[f"decoder.{name}.weight"]
        bias = self.weights.get(f"decoder.{name}.bias")
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def block(self, x: Tensor, index: int) -> Tensor:
        hidden = torch.cat([x, self.past.get(index, torch.zeros_like(x))], 1)
        self.past[index] = x
        for place in (0, 2, 4):
            hidden = self.conv(hidden if place == 0 else hidden.relu(), f"{index}.conv.{place}")
        return (hidden + x).relu()

    def grow(self, x: Tensor, index: int, times: int) -> list[Tensor]:
        larger = F.interpolate(x, scale_factor=2, mode="nearest")
        return list(self.conv(larger, f"{index}.conv").chunk(times, 1))

    def decoded(self, x: Tensor) -> Iterator[Tensor]:
        """Frames of one latent, before the last shuffle, in [0, 1] and beyond."""
        x = self.conv(3 * torch.tanh(x / 3), "1").relu()
        yield from self.level([x], 3, 1)

    def level(self, steps: list[Tensor], first: int, times: int) -> Iterator[Tensor]:
        for x in steps:
            for index in range(first, first + 3):
                x = self.block(x, index)
            larger = [self.conv(one, str(first + 5)) for one in self.grow(x, first + 4, times)]
            if first < 15:
                yield from self.level(larger, first + 6, 2)
            else:
                yield from (self.conv(one.relu(), "22") for one in larger)


def slow_decode(decoder: TaehvDecoder, latents: Tensor) -> Tensor:
    slow = Slow(decoder.state_dict())
    frames = [frame for latent in latents.unbind(1) for frame in slow.decoded(latent)]
    shuffled = [F.pixel_shuffle(frame, decoder.config.patch).clamp(0, 1) for frame in frames[3:]]
    return torch.stack(shuffled, 1) * 2 - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", PARTITIONS)
def test_the_whole_clip_equals_any_split_of_it(kind: str, steps: tuple[int, ...]) -> None:
    decoder = small_decoder(kind).double()
    latents = latents_for(decoder, sum(steps))
    whole = decoder.decode(latents)
    side = decoder.spatial_stride
    assert whole.shape == (2, 1 + 4 * (sum(steps) - 1), 3, 3 * side, 5 * side)
    torch.testing.assert_close(decode_in_steps(decoder, latents, steps), whole, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_decoding_frame_by_frame(kind: str) -> None:
    decoder = small_decoder(kind).double()
    latents = latents_for(decoder, 4)
    made = decoder.decode(latents)
    torch.testing.assert_close(made, slow_decode(decoder, latents), **EXACT)
    assert made.std() > 0.1
    assert (made.abs() < 1).double().mean() > 0.8


def test_every_block_looks_back_by_one_step_and_never_ahead() -> None:
    """The first latent reaches far, through every memory; a later one never changes what came before it."""
    decoder = small_decoder().double()
    latents = latents_for(decoder, 4)
    made, memory = decoder(latents, None)
    assert len(memory) == 9
    assert [part.shape[1] for part in memory] == [1] * 9
    other = torch.cat([latents[:, :2], -latents[:, 2:]], 1)
    changed, _ = decoder(other, None)
    torch.testing.assert_close(changed[:, :5], made[:, :5], **EXACT)
    assert not torch.allclose(changed[:, 5:9], made[:, 5:9])
    for index in range(9):
        spoilt = tuple(-part if place == index else part for place, part in enumerate(memory))
        after, _ = decoder(latents[:, :1], memory)
        assert not torch.equal(decoder(latents[:, :1], spoilt)[0], after), f"memory {index} is not read"


def test_memory_belongs_to_the_caller_and_holds_no_more_than_a_step() -> None:
    decoder = small_decoder()
    memory, _ = two_go_on_from_one_point(decoder, latents_for(decoder, 4), 2)
    assert all(part.untyped_storage().nbytes() == part.numel() * part.element_size() for part in memory)


def test_frames_are_in_range_and_only_training_sees_beyond() -> None:
    decoder = small_decoder()
    latents = latents_for(decoder, 3) * 3
    raw, _ = decoder(latents, None)
    assert raw.abs().max() > 1
    assert torch.equal(decoder.decode(latents), raw.clamp(-1, 1))


def test_wrong_latents_are_explained() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 16, 3, 5\): this decoder takes \(B, T, 6, h, w\)"):
        small_decoder().decode(torch.zeros(1, 2, 16, 3, 5))


@pytest.mark.parametrize(("kind", "count"), [("wan2.1", 9_844_611), ("wan2.2", 9_923_532)])
def test_published_sizes(kind: str, count: int) -> None:
    with torch.device("meta"):
        decoder = TaehvDecoder(PUBLISHED[kind])
        frames, _ = decoder.decode_step(torch.zeros(1, 2, PUBLISHED[kind].latent_channels, 3, 2), None)
    assert sum(weight.numel() for weight in decoder.parameters()) == count
    assert frames.shape == (1, 5, 3, 3 * decoder.spatial_stride, 2 * decoder.spatial_stride)
    assert decoder.spatial_stride == {"wan2.1": 8, "wan2.2": 16}[kind]


def test_the_names_are_the_published_ones() -> None:
    """Of the whole decoder of taew2_1, place by place."""
    with torch.device("meta"):
        own = {name: tuple(weight.shape) for name, weight in TaehvDecoder(PUBLISHED["wan2.1"]).state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {"decoder.1.weight": (256, 16, 3, 3), "decoder.1.bias": (256,)}
    levels = ((3, 256, 128, 1), (9, 128, 64, 2), (15, 64, 64, 2))
    for first, width, following, times in levels:
        for index in range(first, first + 3):
            for place, inner in ((0, 2 * width), (2, width), (4, width)):
                expected[f"decoder.{index}.conv.{place}.weight"] = (width, inner, 3, 3)
                expected[f"decoder.{index}.conv.{place}.bias"] = (width,)
        expected[f"decoder.{first + 4}.conv.weight"] = (times * width, width, 1, 1)
        expected[f"decoder.{first + 5}.weight"] = (following, width, 3, 3)
    expected |= {"decoder.22.weight": (3, 64, 3, 3), "decoder.22.bias": (3,)}
    assert own == expected


def whole_file(kind: str = "wan2.1") -> Weights:
    """As published: decoder and encoder in one."""
    tensors = {name: weight.detach().contiguous() for name, weight in small_decoder(kind).state_dict().items()}
    return tensors | {"encoder.0.weight": torch.randn(64, 3, 3, 3), "encoder.0.bias": torch.randn(64)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_files_load_whatever_their_format(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"tae{suffix}"
    weights = whole_file(kind)
    if suffix == ".pth":
        torch.save(weights, path)
    else:
        save_file(weights, path)
    decoder = TaehvDecoder.load(path)
    assert decoder.config == config_of(weights, "file") == SMALL[kind]
    assert not decoder.training
    assert not any(weight.requires_grad for weight in decoder.parameters())
    assert all(torch.equal(weight, weights[name]) for name, weight in decoder.state_dict().items())
    half = TaehvDecoder.load(path, dtype=torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}


def test_saved_it_comes_back(tmp_path: Path) -> None:
    decoder = small_decoder("wan2.2")
    decoder.save(tmp_path / "mine.safetensors")
    latents = latents_for(decoder, 2)
    assert torch.equal(TaehvDecoder.load(tmp_path / "mine.safetensors").decode(latents), decoder.decode(latents))


def without(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: value for key, value in weights.items() if key != name}


def with_more(name: str, shape: tuple[int, ...]) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, name: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("decoder.4.conv.2.bias"), r"missing: decoder\.4\.conv\.2\.bias$"),
        (without("decoder.14.weight"), r"lacks decoder\.14\.weight; send taew2_1 or taew2_2"),
        (with_more("decoder.23.weight", (1,)), r"unknown: decoder\.23\.weight$"),
        (with_more("head.weight", (1,)), r"unknown: head\.weight$"),
        (with_more("decoder.7.conv.weight", (20, 10, 1, 1)), r"of another shape: decoder\.7\.conv\.weight \(20, 10"),
        (lambda _: {"a": torch.zeros(1)}, "lacks decoder.1.weight, decoder.8.weight"),
    ],
)
def test_wrong_files_are_explained(change: Callable[[Weights], Weights], message: str, tmp_path: Path) -> None:
    save_file(change(whole_file()), tmp_path / "tae.safetensors")
    with pytest.raises(ValueError, match=message) as raised:
        TaehvDecoder.load(tmp_path / "tae.safetensors")
    assert "tae.safetensors" in str(raised.value)


def test_a_file_that_is_not_there_and_one_that_is_no_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TaehvDecoder.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ValueError, match=r"text\.safetensors: not a file of weights"):
        TaehvDecoder.load(tmp_path / "text.safetensors")
