"""A small model as a folder, with random weights, and gestures for its streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tests.small import GEOMETRY, cache_for, randomised, small_model, small_vae

from motionstream.conditioning import Conditioning, TrackBatch
from motionstream.model_folder import Live
from motionstream.sampling import MotionModel, keyed, rollout
from motionstream.stream.model import StreamingModel
from motionstream.stream.stream import Stream
from motionstream.tiny.anchor import Anchor
from motionstream.tiny.bundle import load_bundle, save_bundle
from motionstream.tiny.conditioner import AnchoredConditioner, AnchoredState, Warped
from motionstream.tiny.detail import Detail, DetailConfig
from motionstream.tiny.finisher import finisher_of
from motionstream.tiny.prompt_filter import PromptFilter, PromptFilterConfig
from motionstream.tiny.vae import TinyVAE
from motionstream.tracks import Tracks
from motionstream.vae.pixels import from_image, to_frames

Video = npt.NDArray[np.uint8]
PROMPT = "a red kite over a field"


def save_small(
    folder: Path,
    chunk: int = 3,
    sink: int = 3,
    window: int = 3,
    seed: int = 0,
    reads_prompt: bool = True,
    clean_pass: bool = True,
) -> Path:
    live = Live(GEOMETRY.size, 24.0, chunk, sink, window, 2, 3.0, reads_prompt, clean_pass)
    origin = {"made_by": "a test"}
    save_bundle(folder, "small", attentive_model(seed), calm_vae(), live, origin, small_detail(), small_look())
    return folder


@torch.no_grad()
def attentive_model(seed: int) -> MotionModel:
    """A random network whose prompt shows in the frames."""
    model = small_model(seed=seed)
    for name, weight in model.named_parameters():
        if "cross_attn.o" in name or name == "text.words.weight":
            weight.mul_(10)
    return model


def silent_model(model: StreamingModel) -> StreamingModel:
    """The same model with a network that returns 0."""
    network = small_model()
    with torch.no_grad():
        for weight in network.dit.head.parameters():
            weight.zero_()
    parts = (model.vae, model.geometry, 24.0, model.rollout_config, "0")
    return StreamingModel("silent", network, *parts, conditioner=AnchoredConditioner)


@torch.no_grad()
def calm_vae() -> TinyVAE:
    """A VAE whose random frames stay within what pixels can show, so that no difference is cut off."""
    vae = small_vae()
    vae.decoder.linear.weight.mul_(0.6)
    vae.decoder.out.weight.mul_(0.6)
    return vae


def begun(
    model: StreamingModel, picture: Video, tracks: Tracks, seed: int
) -> tuple[torch.Tensor, Conditioning, Warped]:
    """What a whole clip's rollout starts from: the picture's pixels, its conditioning and its warp."""
    pixels, batch = from_image(picture), TrackBatch.of([tracks])
    state = AnchoredState(Anchor.of(pixels[:, 0]).seen(batch, 0))
    conditioning, state = AnchoredConditioner(model.vae, model.geometry, seed).continued(state, batch)
    assert state.warped is not None
    return pixels, conditioning, state.warped


def decoded(model: StreamingModel, latents: torch.Tensor, warped: Warped) -> torch.Tensor:
    """A whole clip's latents → its frames with detail."""
    return finisher_of(model).detailed(model.vae.decode(latents), warped)


def filtered(
    model: StreamingModel,
    video: torch.Tensor,
    prompt: str,
    begin: int = 0,
    since: int = 0,
    seed: int = 0,
    before: str = "",
) -> torch.Tensor:
    """Frames from number `begin` on under the filter of a prompt in force since frame `since`, after another."""
    finisher = finisher_of(model)
    return finisher.shown(video, finisher.prompted(finisher.open(before, seed), prompt, since), begin)


def small_detail() -> Detail:
    torch.manual_seed(0)
    detail = Detail(DetailConfig(8))
    randomised(detail, 0.03)
    return detail


def small_look() -> PromptFilter:
    """Phrases that show, a little, in every pixel."""
    torch.manual_seed(0)
    prompt_filter = PromptFilter(PromptFilterConfig(("a", "and", "of", "kite", "snow", "rain", "a boat")))
    with torch.no_grad():
        prompt_filter.amounts.weight[1:].normal_(std=0.02)
    return prompt_filter


def open_small(folder: Path, fused: bool = True) -> StreamingModel:
    return load_bundle(folder, torch.device("cpu"), torch.float32, fused)


def photo(seed: int = 0, size: tuple[int, int] = GEOMETRY.size) -> Video:
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def drag(begin: int, end: int, points: int = 4, first_id: int = 0) -> Tracks:
    """Frames [begin, end) of a drag: a row of points that circles, each at another phase."""
    turn = np.arange(begin, end)[:, None] / 9 + np.arange(points)
    centre = np.stack([np.linspace(10, GEOMETRY.width - 10, points), np.full(points, GEOMETRY.height / 2)], -1)
    xy = centre + 5 * np.stack([np.cos(turn), np.sin(turn)], -1)
    return Tracks(xy.astype(np.float32), np.ones((end - begin, points), bool), first_id + np.arange(points))


def shown(stream: Stream) -> int:
    """Frames that the stream has given so far."""
    return GEOMETRY.frames(stream.state.latents)


def dragged(stream: Stream, chunks: int) -> Video:
    """The next chunks under one drag that began with the stream."""
    return np.concatenate(
        [stream.step(drag(shown(stream), shown(stream) + stream.chunk_frames)) for _ in range(chunks)]
    )


@torch.inference_mode()
def rolled_out(model: StreamingModel, picture: Video, tracks: Tracks, prompt: str, seed: int) -> Video:
    """The frames of a clip whose tracks are all known, by the loop of training and the VAE on the whole clip."""
    pixels, conditioning, warped = begun(model, picture, tracks, seed)
    context = model.network.context([prompt])
    cache, known = cache_for(model.network, model.rollout_config), model.vae.encode(pixels)
    chunks = rollout(model.network, cache, conditioning, context, model.rollout_config, keyed(seed), known)
    video = decoded(model, torch.cat(list(chunks), 1), warped)
    return to_frames(filtered(model, video, prompt, seed=seed)[0])
