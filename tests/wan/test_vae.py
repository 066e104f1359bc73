"""Wan's VAEs: Diffusers' results, however the clip is cut, and nothing of a stream left on the module."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.small import randomised
from tests.vae.in_steps import decode_in_steps, encode_in_steps, two_go_on_from_one_point
from tests.wan.random_vae import random_vae
from torch import Tensor, nn

from motionstream.conditioning import ConditioningConfig
from motionstream.dit import CONFIGS
from motionstream.errors import one_line
from motionstream.geometry import Geometry
from motionstream.sampling import ModelConfig, RolloutConfig
from motionstream.stream.model import StreamingModel
from motionstream.tiny.conditioner import AnchoredConditioner
from motionstream.tiny.network import motion_model
from motionstream.vae import Memory
from motionstream.wan.vae import CONFIG, WEIGHTS, WanVAE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    diffusers = pytest.importorskip("diffusers")
    from diffusers import AutoencoderKLWan

KINDS = ["wan2.1", "wan2.2"]
SIZE = (16, 48)
"""(H, W): 2 × 6 latent cells of Wan 2.1, 1 × 3 of Wan 2.2."""
PARTITIONS = [(1, 1, 1, 1), (2, 2), (1, 3), (3, 1)]
"""Latents of each step."""
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module", params=KINDS)
def vae(request: pytest.FixtureRequest) -> WanVAE:
    return random_vae(request.param)


@pytest.fixture(scope="module")
def small() -> WanVAE:
    return random_vae("wan2.1")


def clip_of(latents: int, seed: int = 0, clips: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(clips, 1 + 4 * (latents - 1), 3, *SIZE, generator=generator) * 2 - 1


def latents_of(vae: WanVAE, latents: int, seed: int = 0, clips: int = 1) -> Tensor:
    cells = (side // vae.spatial_stride for side in SIZE)
    return torch.randn(clips, latents, vae.latent_channels, *cells, generator=torch.Generator().manual_seed(seed))


def statistics(vae: WanVAE) -> tuple[Tensor, Tensor]:
    """Mean and deviation as Diffusers' layout wants them."""
    config = vae.network.config
    mean, deviation = (torch.tensor(numbers) for numbers in (config.latents_mean, config.latents_std))
    return mean[:, None, None, None], deviation[:, None, None, None]


def test_a_whole_clip_is_encoded_as_diffusers_does(vae: WanVAE) -> None:
    clip, (mean, deviation) = clip_of(3, clips=2), statistics(vae)
    theirs = vae.network.encode(clip.transpose(1, 2)).latent_dist.mode()
    latents = vae.encode(clip)
    assert latents.shape == latents_of(vae, 3, clips=2).shape
    torch.testing.assert_close(latents, ((theirs - mean) / deviation).transpose(1, 2), **CLOSE)
    assert theirs.std() > 0.05


def test_a_whole_clip_is_decoded_as_diffusers_does(vae: WanVAE) -> None:
    latents, (mean, deviation) = latents_of(vae, 3, clips=2), statistics(vae)
    theirs = vae.network.decode(latents.transpose(1, 2) * deviation + mean).sample
    frames = vae.decode(latents)
    assert frames.shape == (2, 9, 3, *SIZE)
    torch.testing.assert_close(frames, theirs.transpose(1, 2), **CLOSE)
    assert theirs.std() > 0.05
    assert (theirs.abs() < 1).float().mean() > 0.5


@pytest.mark.parametrize("steps", PARTITIONS)
def test_a_clip_step_by_step_is_the_whole_clip_bit_for_bit(vae: WanVAE, steps: tuple[int, ...]) -> None:
    clip, latents = clip_of(4), latents_of(vae, 4)
    assert torch.equal(encode_in_steps(vae, clip, steps), vae.encode(clip))
    assert torch.equal(decode_in_steps(vae, latents, steps), vae.decode(latents))


def test_the_past_matters_and_the_future_does_not(vae: WanVAE) -> None:
    clip, latents = clip_of(3), latents_of(vae, 3)
    encoded, decoded = vae.encode(clip), vae.decode(latents)
    earlier = vae.encode(torch.cat([-clip[:, :5], clip[:, 5:]], 1))
    assert (earlier[:, 2] - encoded[:, 2]).abs().max() > 1e-4
    earlier = vae.decode(torch.cat([-latents[:, :1], latents[:, 1:]], 1))
    assert (earlier[:, 1:5] - decoded[:, 1:5]).abs().max() > 1e-4
    later = vae.encode(torch.cat([clip[:, :5], -clip[:, 5:]], 1))
    torch.testing.assert_close(later[:, :2], encoded[:, :2], **CLOSE)
    later = vae.decode(torch.cat([latents[:, :2], -latents[:, 2:]], 1))
    torch.testing.assert_close(later[:, :5], decoded[:, :5], **CLOSE)


def test_memory_belongs_to_the_caller(vae: WanVAE) -> None:
    """A step leaves the memory it was given as it was: two streams may go on from one point, here from the mark on."""
    memory, after = two_go_on_from_one_point(vae, latents_of(vae, 3), 1)
    marks = [part.shape for part in memory if part.numel() == 0]
    assert marks == [(1, 0), (1, 0)]
    assert len(after) == len(memory)
    assert all(part.numel() for part in after)


def test_memory_stops_growing(vae: WanVAE) -> None:
    latents = latents_of(vae, 4)
    _, memory = vae.decode_step(latents[:, :2], None)
    _, later = vae.decode_step(latents[:, 2:], memory)
    assert [part.shape for part in later] == [part.shape for part in memory]
    assert all(part.untyped_storage().nbytes() == part.numel() * part.element_size() for part in later)


def test_streams_and_threads_share_a_module_undisturbed(vae: WanVAE) -> None:
    """Two streams take turns, others run beside them, and a clip of Diffusers' own goes through in between."""
    streams = [latents_of(vae, 3, seed) for seed in range(2)]
    alone = [decode_in_steps(vae, latents, (1, 1, 1)) for latents in streams]
    memories: list[Memory | None] = [None, None]
    shown: list[list[Tensor]] = [[], []]
    for turn in range(3):
        for index, latents in enumerate(streams):
            frames, memories[index] = vae.decode_step(latents[:, turn : turn + 1], memories[index])
            shown[index].append(frames)
        vae.network.decode(streams[0].transpose(1, 2))
    for parts, expected in zip(shown, alone, strict=True):
        assert torch.equal(torch.cat(parts, 1), expected)
    with ThreadPoolExecutor(2) as threads:
        beside = list(threads.map(lambda latents: decode_in_steps(vae, latents, (1, 1, 1)), streams))
    assert all(torch.equal(a, b) for a, b in zip(beside, alone, strict=True))


def test_nothing_of_a_stream_stays_on_the_module() -> None:
    vae = random_vae("wan2.1")
    before = {name: dict(vars(module)) for name, module in vae.named_modules()}
    vae.encode_step(clip_of(2), None)
    vae.decode_step(latents_of(vae, 2), None)
    assert all(vars(module) == before[name] for name, module in vae.named_modules())


def streaming(vae: WanVAE) -> StreamingModel:
    """A small model whose warped anchor is encoded and whose frames are decoded by this VAE."""
    channels = vae.latent_channels
    conditioning = ConditioningConfig(channels, track_channels=5, anchored=True)
    given = channels + conditioning.channels
    dit = replace(CONFIGS["tiny"], width=48, heads=2, layers=1, ffn=64, text_dim=16, text_tokens=7)
    network = motion_model(ModelConfig(replace(dit, in_channels=given, out_channels=channels), conditioning))
    randomised(network)
    geometry = Geometry(64, 32, vae.spatial_stride)
    return StreamingModel(
        "small",
        network,
        vae,
        geometry,
        24.0,
        RolloutConfig(1, 1, 1, (1.0,)),
        "weights",
        conditioner=AnchoredConditioner,
    )


def test_a_snapshot_carries_its_memory(vae: WanVAE) -> None:
    """Taken after one latent, while the mark stands in memory, and after two."""
    model = streaming(vae)
    photo = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    stream = model.open(photo)
    for _ in range(2):
        stream.step()
        again = model.resume(stream.snapshot())
        assert [part.shape for part in again.state.decoder or ()] == [part.shape for part in stream.state.decoder or ()]
        expected = model.resume(stream.snapshot())
        for _ in range(2):
            assert np.array_equal(again.step(), expected.step())
    following = model.resume(stream.snapshot()).step()
    assert np.array_equal(following, stream.step())
    assert following.std() > 1


@torch.inference_mode()
def test_lower_precision_computes_in_it_and_normalises_in_float32(vae: WanVAE) -> None:
    coarse = random_vae(KINDS[vae.patch - 1]).bfloat16()
    assert coarse.dtype == torch.bfloat16
    assert torch.equal(coarse.mean, vae.mean)
    assert torch.equal(coarse.scale, vae.scale)
    clip, latents = clip_of(2), latents_of(vae, 2)
    encoded, memory = coarse.encode_step(clip, None)
    assert encoded.dtype == torch.float32
    assert {part.dtype for part in memory} == {torch.bfloat16}
    assert coarse.encode(clip.bfloat16()).dtype == torch.bfloat16
    assert coarse.decode(latents.bfloat16()).dtype == torch.bfloat16
    expected = vae.encode(clip)
    assert (encoded - expected).abs().mean() < 0.05 * expected.abs().mean()
    expected = vae.decode(latents)
    assert (coarse.decode(latents) - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_channels_last_gives_the_same(vae: WanVAE) -> None:
    other = random_vae(KINDS[vae.patch - 1]).channels_last()
    assert other.network.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last_3d)
    clip, latents = clip_of(2), latents_of(vae, 2)
    torch.testing.assert_close(other.encode(clip), vae.encode(clip), **CLOSE)
    torch.testing.assert_close(other.decode(latents), vae.decode(latents), **CLOSE)


@pytest.mark.parametrize(
    ("kind", "stride", "channels", "total", "decoder"),
    [("wan2.1", 8, 16, 126_892_531, 73.3), ("wan2.2", 16, 48, None, 555.0)],
)
def test_sizes_are_those_published(kind: str, stride: int, channels: int, total: int | None, decoder: float) -> None:
    """126.9 M parameters of Wan 2.1; decoders of 73.3 M and 555 M."""
    with torch.device("meta"):
        vae = random_vae(kind, reduced=False)
    assert (vae.spatial_stride, vae.temporal_stride, vae.latent_channels) == (stride, 4, channels)
    assert total in (None, sum(weight.numel() for weight in vae.parameters()))
    millions = sum(weight.numel() for weight in vae.network.decoder.parameters()) / 1e6
    assert millions == pytest.approx(decoder, rel=1e-3)


def test_what_is_saved_is_what_is_loaded(vae: WanVAE, tmp_path: Path) -> None:
    vae.network.save_pretrained(tmp_path / "vae")
    clip = clip_of(2)
    for path in (tmp_path / "vae", tmp_path):
        assert torch.equal(WanVAE.load(path).encode(clip), vae.encode(clip))
    coarse = WanVAE.load(str(tmp_path), dtype=torch.bfloat16)
    assert coarse.dtype == torch.bfloat16
    assert not coarse.training
    assert not any(weight.requires_grad for weight in coarse.parameters())
    theirs = AutoencoderKLWan.from_pretrained(tmp_path / "vae", local_files_only=True, low_cpu_mem_usage=False)
    assert torch.equal(theirs.encode(clip.transpose(1, 2)).latent_dist.mode()[:, :, 0], raw(vae, clip)[:, 0])


def raw(vae: WanVAE, clip: Tensor) -> Tensor:
    mode: Tensor = vae.network.encode(clip.transpose(1, 2)).latent_dist.mode()
    return mode.transpose(1, 2)


RESIDUAL = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}


def original_name(name: str) -> str:
    """Diffusers' name of a weight of Wan 2.1 → the publisher's."""
    ends = {"post_quant_conv": "conv2", "quant_conv": "conv1", "conv_in": "conv1", "norm_out": "head.0"}
    middle = {"resnets.0": "middle.0", "attentions.0": "middle.1", "resnets.1": "middle.2"}
    parts = name.split(".")
    if match := re.match(r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers)\.(\d)\.", name):
        place = 4 * int(match[1]) + (int(match[3]) if match[2] == "resnets" else 3)
        head, rest = f"decoder.upsamples.{place}", parts[5:]
    elif parts[1] == "down_blocks":
        head, rest = f"encoder.downsamples.{parts[2]}", parts[3:]
    elif parts[1] == "mid_block":
        head, rest = f"{parts[0]}.{middle['.'.join(parts[2:4])]}", parts[4:]
    else:
        return ".".join((ends | {"conv_out": "head.2"}).get(part, part) for part in parts)
    return ".".join([head, *((RESIDUAL | {"conv_shortcut": "shortcut"}).get(part, part) for part in rest)])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_wan_2_1s_own_file_is_read(small: WanVAE, tmp_path: Path, suffix: str) -> None:
    state = {original_name(name): value for name, value in small.network.state_dict().items()}
    assert len(state) == len(small.network.state_dict())
    path = tmp_path / f"Wan2.1_VAE{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    loaded = WanVAE.load(path)
    for name, value in small.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value), name
    torch.testing.assert_close(loaded.mean[:2], torch.tensor([-0.7571, -0.7089]))


def remove_config(folder: Path) -> None:
    (folder / CONFIG).unlink()


def remove_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def damage_config(folder: Path) -> None:
    (folder / CONFIG).write_text("no JSON")


def damage_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])


def drop_a_weight(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    del state["encoder.conv_in.weight"]
    save_file(state, folder / WEIGHTS)


def describe(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | changes))

    return change


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (remove_config, FileNotFoundError, "holds no config.json; give the folder vae"),
        (remove_weights, FileNotFoundError, "holds no diffusion_pytorch_model.safetensors"),
        (damage_config, ValueError, "not the description of a network"),
        (damage_weights, ValueError, "not a file of weights that can be read; download it again"),
        (drop_a_weight, ValueError, "not the weights of this network; missing: encoder.conv_in.weight"),
        (
            describe(base_dim=16),
            ValueError,
            "not the weights of this network; of another shape: .*encoder.conv_in.weight",
        ),
        (describe(_class_name="AutoencoderKL"), ValueError, "of class AutoencoderKL, not AutoencoderKLWan"),
        (describe(latents_std=[1.0]), ValueError, "latents_std has 1 numbers for 16 channels"),
    ],
)
def test_a_folder_that_is_not_whats_needed_is_refused(
    small: WanVAE, tmp_path: Path, spoil: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    small.network.save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(error, match=message):
        WanVAE.load(tmp_path)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is nothing; give the folder vae"):
        WanVAE.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("channels", "message"), [(48, "of 48 channels.*Wan2.2-TI2V-5B-Diffusers"), (None, "not Wan's own VAE file")]
)
def test_another_file_is_refused(tmp_path: Path, channels: int | None, message: str) -> None:
    state = {"encoder.conv1.weight": torch.zeros(8, 12, 3, 3, 3)}
    if channels is not None:
        state["conv2.weight"] = torch.zeros(channels, channels, 1, 1, 1)
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match=message):
        WanVAE.load(tmp_path / "vae.safetensors")


def test_without_diffusers_it_says_what_to_install(
    small: WanVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.network.save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        WanVAE.load(tmp_path)
    assert "package diffusers: pip install 'motionstream[wan]'" in one_line(raised.value)


@pytest.mark.parametrize("frames", [0, 2, 4, 8])
def test_a_start_of_other_than_1_plus_4n_frames_is_refused(small: WanVAE, frames: int) -> None:
    with pytest.raises(ValueError, match=r"starts with 1 \+ 4n"):
        small.encode(torch.zeros(1, frames, 3, *SIZE))


def test_other_wrong_inputs_are_refused(small: WanVAE) -> None:
    _, memory = small.encode_step(clip_of(1), None)
    with pytest.raises(ValueError, match=r"5 frames.*goes on with 4n"):
        small.encode_step(clip_of(2), memory)
    with pytest.raises(ValueError, match=r"frames of 36×32 pixels: .*multiples of 8"):
        small.encode(torch.zeros(1, 1, 3, 32, 36))
    with pytest.raises(ValueError, match="2 latents of 48 channels: send one or more of 16"):
        small.decode(torch.zeros(1, 2, 48, 2, 6))
    with pytest.raises(ValueError, match="0 latents"):
        small.decode(torch.zeros(1, 0, 16, 2, 6))


def test_a_network_of_another_temporal_stride_is_refused() -> None:
    network = AutoencoderKLWan(base_dim=8, temperal_downsample=[False, False, True])
    with pytest.raises(ValueError, match="halve time twice"):
        WanVAE(network)


def test_without_its_decoder_it_encodes_and_says_that_it_cannot_decode() -> None:
    vae = random_vae("wan2.1")
    clip = clip_of(2)
    expected, before = vae.encode(clip), count(vae)
    assert torch.equal(vae.without_decoder().encode(clip), expected)
    assert count(vae) < 0.6 * before
    with pytest.raises(ValueError, match="loaded without its decoder"):
        vae.decode(expected)


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
