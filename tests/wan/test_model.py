"""A Wan folder from disk to frames: a stream is the batch rollout, with text, tracks and the first picture's tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.wan.wan_folder import SIZES, save_reduced

from motionstream import model_folder, zoo
from motionstream.conditioning import TrackBatch, TrackConditioner
from motionstream.dit import RollingCache
from motionstream.fast.fp8 import Fp8Linear
from motionstream.geometry import Geometry
from motionstream.sampling import keyed, rollout
from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream
from motionstream.tracks import Tracks
from motionstream.vae.pixels import from_image, to_frames
from motionstream.wan.model import in_fp8, load_wan

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

Video = npt.NDArray[np.uint8]
CPU = torch.device("cpu")
PROMPT, OTHER = "a boat sails in the rain", "it snows"
CHUNKS = 4
SHARD = "network-00001-of-00002.safetensors"
KINDS = sorted(SIZES)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_reduced(tmp_path_factory.mktemp(kind) / "model", kind) for kind in KINDS}


def opened(folder: Path, fused: bool = True) -> StreamingModel:
    return load_wan(folder, CPU, torch.float32, fused)


def picture(kind: str, seed: int = 0) -> Video:
    """Large patches of colour."""
    width, height = SIZES[kind]
    patches = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return patches.repeat(16, 0).repeat(16, 1)


def drag(kind: str, begin: int, frames: int) -> Tracks:
    """Two points on their way to the right, the second hidden now and then."""
    times = np.arange(begin, begin + frames)
    xy = np.stack(
        [np.stack([8.0 + times, 20.0 + 0 * times], -1), np.stack([30.0 + times / 2, 34.0 + 0 * times], -1)], 1
    )
    return Tracks(xy.astype(np.float32), np.stack([times >= 0, times % 9 < 6], 1), np.array([4, 9]))


def dragged(stream: Stream, kind: str, chunks: int, done: int = 0) -> Video:
    frames = []
    for _ in range(chunks):
        count = stream.chunk_frames
        frames.append(stream.step(drag(kind, done, count)))
        done += count
    return np.concatenate(frames)


@torch.inference_mode()
def rolled_out(model: StreamingModel, kind: str, prompt: str) -> Video:
    """The same clip by the loop of training, all tracks known at once, decoded whole."""
    tracks = TrackBatch.of([drag(kind, 0, model.geometry.frames(3 * CHUNKS))])
    pixels = from_image(picture(kind))
    conditioning = TrackConditioner(model.vae, model.geometry, 5).clip(pixels[:, 0], tracks)
    seen = None if model.pictures is None else model.pictures.encode(picture(kind)).to(model.dtype)
    rollout_config, geometry = model.rollout_config, model.geometry
    cache = RollingCache(
        model.network.dit.config,
        batch=1,
        tokens=geometry.tokens_per_latent,
        sink=rollout_config.sink,
        window=rollout_config.window,
    )
    chunks = rollout(
        model.network,
        cache,
        conditioning,
        model.context(prompt, seen),
        rollout_config,
        keyed(5),
        model.vae.encode(pixels),
    )
    return to_frames(model.vae.decode(torch.cat(list(chunks), 1))[0])


def off_by(a: Video, b: Video) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_batch_rollout(saved: dict[str, Path], kind: str, fused: bool) -> None:
    """Twelve latents, so that the window rolls."""
    model = opened(saved[kind], fused)
    assert model.size == SIZES[kind]
    streamed = dragged(model.open(picture(kind), PROMPT, seed=5), kind, CHUNKS)
    assert streamed.shape == (model.geometry.frames(3 * CHUNKS), *SIZES[kind][::-1], 3)
    assert off_by(streamed, rolled_out(model, kind, PROMPT)) <= 1
    assert off_by(streamed, rolled_out(model, kind, OTHER)) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_tracks_and_picture_change_the_frames(saved: dict[str, Path], kind: str) -> None:
    model = opened(saved[kind])
    dragging = dragged(model.open(picture(kind), PROMPT, seed=5), kind, 2)
    still = model.open(picture(kind), PROMPT, seed=5)
    assert off_by(dragging, np.concatenate([still.step(), still.step()])) > 3
    assert off_by(dragging, dragged(model.open(picture(kind, 1), PROMPT, seed=5), kind, 2)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_goes_on_bit_for_bit(saved: dict[str, Path], kind: str) -> None:
    model = opened(saved[kind])
    stream = model.open(picture(kind), PROMPT, seed=5)
    done = len(dragged(stream, kind, 2))
    resumed = opened(saved[kind]).resume(stream.snapshot())
    for each in (stream, resumed):
        each.prompt = OTHER
    np.testing.assert_array_equal(dragged(stream, kind, 2, done), dragged(resumed, kind, 2, done))


def test_the_zoo_knows_the_kind(saved: dict[str, Path]) -> None:
    model = zoo.load(saved["wan2.1"], "cpu")
    assert model.name == "reduced wan2.1"
    assert model.geometry == Geometry(64, 48)
    assert len(model.hash) == 12
    assert model.open(picture("wan2.1")).step().shape == (9, 48, 64, 3)


def test_the_full_vae_decodes_without_a_tiny_one(tmp_path: Path) -> None:
    model = opened(save_reduced(tmp_path / "model", "wan2.1", tiny_decoder=False))
    streamed = dragged(model.open(picture("wan2.1"), PROMPT, seed=5), "wan2.1", CHUNKS)
    assert off_by(streamed, rolled_out(model, "wan2.1", PROMPT)) <= 1


def test_a_known_prompt_needs_no_text_encoder(saved: dict[str, Path], tmp_path: Path) -> None:
    first = opened(saved["wan2.2"]).open(picture("wan2.2"), PROMPT).step()

    folder = Path(shutil.copytree(saved["wan2.2"], tmp_path / "model"))
    shutil.rmtree(folder / "text" / "text_encoder")
    model = opened(folder)
    np.testing.assert_array_equal(model.open(picture("wan2.2"), PROMPT).step(), first)
    with pytest.raises(FileNotFoundError, match="text_encoder"):
        model.open(picture("wan2.2"), OTHER)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "network-00001-of-00002.safetensors").unlink(),
            "no safetensors file at",
        ),
        (lambda folder: (folder / "network-00001-of-00002.safetensors").write_bytes(b"words"), "is damaged"),
        (lambda folder: shutil.rmtree(folder / "vae"), "vae"),
        (lambda folder: _edited(folder, "places", {"vae": "vae"}), "does not describe a model"),
        (lambda folder: _edited(folder, "kind", "other"), "kind 'other'"),
        (lambda folder: _edited(folder, "sha256", {}), "is incomplete"),
    ],
)
def test_what_is_wrong_is_named(saved: dict[str, Path], tmp_path: Path, damage: object, message: str) -> None:
    folder = Path(shutil.copytree(saved["wan2.1"], tmp_path / "model"))
    damage(folder)  # type: ignore[operator]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opened(folder)


def test_fp8_is_close_or_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved["wan2.1"], tmp_path / "model"))
    whole = dragged(opened(folder).open(picture("wan2.1"), PROMPT, seed=5), "wan2.1", 2)
    _edited(folder, "fp8", True)
    rounded = opened(folder)
    assert any(
        isinstance(part, Fp8Linear) for block in rounded.network.dit.fused_blocks for part in vars(block).values()
    )
    assert 0 < off_by(whole, dragged(rounded.open(picture("wan2.1"), PROMPT, seed=5), "wan2.1", 2)) < 64
    model = opened(saved["wan2.1"])
    with pytest.raises(ValueError, match="fp8"):
        in_fp8(model.network.dit, model.rollout_config, model.geometry, limit=1e-6)


def _edited(folder: Path, key: str, value: object) -> None:
    file = folder / model_folder.HEADER
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
