"""`StreamingModel`: a trained network and its VAE, ready to open streams on pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from motionstream.conditioning import Conditioner, ConditionerState, PictureEncoder, PromptEncoder, Warped
from motionstream.dit import TextContext
from motionstream.fast.graphed import GraphedDecode, GraphedStep, chunk_step
from motionstream.geometry import Fit, Geometry
from motionstream.sampling import MotionModel, RolloutConfig
from motionstream.stream.sink import FIXED, policy
from motionstream.stream.state import StreamState, from_bytes
from motionstream.stream.stream import Stream
from motionstream.stream.video import read_image, upright_rgb
from motionstream.tiny.anchor import Anchor
from motionstream.tiny.detail import Detail
from motionstream.tiny.particles import Particles
from motionstream.tiny.prompt_filter import PromptFilter
from motionstream.tiny.text_encoder import phrase_numbers
from motionstream.vae import Memory, VideoVAE
from motionstream.vae.pixels import from_image

Picture = str | Path | Image.Image | npt.NDArray[np.uint8]


class StreamingModel:
    """What `motionstream.load` gives.

    network and vae are on one device, in one dtype, in inference mode. rolling: sizes of the rollout, free to
    choose at run time. hash: of the weights, so that figures and snapshots name what made them. detail: gives decoded
    frames the warped anchor's texture; look: what the prompt says of weather and light; either if the model has it.
    prompted: whether the network reads the prompt, or the look alone.
    prompts: the text encoder of a network that has none of its own (Wan's UMT5). pictures: the encoder for its
    cross-attention to the first picture (Wan 2.1's CLIP).
    graphs: as for `chunk_step`; its two halves, and decoding, are what can be recorded.
    """

    def __init__(
        self,
        name: str,
        network: MotionModel,
        vae: VideoVAE,
        geometry: Geometry,
        fps: float,
        rollout_config: RolloutConfig,
        hash: str,
        detail: Detail | None = None,
        prompt_filter: PromptFilter | None = None,
        prompts: PromptEncoder | None = None,
        pictures: PictureEncoder | None = None,
        graphs: bool | None = None,
        prompted: bool = True,
    ) -> None:
        self.name, self.geometry, self.fps, self.hash = name, geometry, fps, hash
        self.network = network.eval().requires_grad_(False)
        self.vae = vae.eval().requires_grad_(False) if isinstance(vae, nn.Module) else vae
        self.detail = None if detail is None else detail.eval().requires_grad_(False)
        self.prompt_filter = None if prompt_filter is None else prompt_filter.eval().requires_grad_(False)
        self.prompts, self.pictures, self.prompted = prompts, pictures, prompted
        self.device = next(network.parameters()).device
        self.dtype = next(network.parameters()).dtype
        self._graphs = graphs
        self.rollout_config = rollout_config
        self._decode = GraphedDecode(vae, self.device) if isinstance(self.chunk_step, GraphedStep) else vae.decode_step

    @property
    def rollout_config(self) -> RolloutConfig:
        """Sizes of the rollout and times of its calls. Set it before streams are opened that should have them."""
        return self.chunk_step.rollout_config

    @rollout_config.setter
    def rollout_config(self, rollout_config: RolloutConfig) -> None:
        grid = self.network.dit.grid(self.geometry.latent_height, self.geometry.latent_width)
        self.chunk_step = chunk_step(self.network, rollout_config, grid, self._graphs)

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the frames, in pixels."""
        return self.geometry.size

    def open(self, image: Picture, prompt: str = "", seed: int = 0, sink: str = FIXED) -> Stream:
        """A stream that starts with this picture, fitted to `size` by resize and centre-crop, never distorted.

        image: path, PIL picture or (H, W, 3) uint8. sink: "fixed" holds on to the first scene, as in the paper;
        "refresh" takes the one in view once the first is left (`sink.py`).
        Raises ValueError or OSError on what is not a picture, ValueError on another sink.
        """
        policy(sink)
        frame, fit = fitted(as_array(image), self.size)
        with torch.inference_mode():
            pixels = from_image(frame).to(self.device, self.dtype)
            state = StreamState(
                seed=seed,
                prompt=prompt,
                cache=self.chunk_step.cache(),
                conditioner=ConditionerState(Anchor.of(pixels[:, 0])),
                first=self.vae.encode(pixels),
                frame=pixels[:, 0],
                source=fit.source,
                seen=None if self.pictures is None else self.pictures.encode(frame).to(self.device, self.dtype),
                sink=sink,
            )
        return Stream(self, state)

    def resume(self, snapshot: bytes) -> Stream:
        """The stream a snapshot was taken of. Raises ValueError if it is not one of this model's."""
        return Stream(self, from_bytes(snapshot, self.hash, self.chunk_step.cache(), self.device))

    def decode(self, latents: Tensor, warped: Warped | None, memory: Memory | None) -> tuple[Tensor, Memory]:
        """The next latents of a stream (B, T, C, h, w) → the frames shown; warped: the anchor at those frames."""
        video, memory = self._decode(latents, memory)
        return self.detailed(video, warped), memory

    def detailed(self, video: Tensor, warped: Warped | None) -> Tensor:
        """Decoded frames (B, F, 3, H, W) with the warped anchor's texture, where the model has a network for that."""
        if self.detail is None or warped is None:
            return video
        sharp: Tensor = self.detail(video, warped.frames, warped.support)
        return sharp

    def phrases(self, prompt: str) -> Tensor | None:
        """What a prompt says of the look (1, L), by number; None: nothing."""
        numbers = [] if self.prompt_filter is None else phrase_numbers(prompt, self.prompt_filter.config.phrases)
        return torch.tensor([numbers], device=self.device) if numbers else None

    def specks(self, seed: int) -> Particles | None:
        """What may lie over the frames of a stream with this seed, where the model has a network that asks for it."""
        return None if self.prompt_filter is None else Particles.of(seed, self.size, self.device)

    def filtered(
        self, video: Tensor, phrases: Tensor | None, specks: Particles | None, begin: int, since: int
    ) -> Tensor:
        """Finished frames (1, F, 3, H, W), number `begin` first, under phrases in force since `since`."""
        if self.prompt_filter is None or phrases is None or specks is None:
            return video
        numbers = range(begin, begin + video.shape[1])
        age = torch.arange(begin - since, begin - since + video.shape[1], device=video.device)
        shown: Tensor = self.prompt_filter(video, phrases, age[None], specks.at(numbers)[None])
        return shown

    def context(self, prompt: str, seen: Tensor | None = None) -> TextContext:
        """What the network reads of a prompt. seen (1, L, image_dim): tokens of the first picture, if it reads them."""
        heard = prompt if self.prompted else ""
        with torch.inference_mode():
            if self.prompts is None:
                return self.network.context([heard])
            said = self.prompts.encode([heard])
            text = said.padded(self.network.dit.config.text_tokens).to(self.device, self.dtype)
            return self.network.dit.text_context(text, seen, said.lengths)

    def conditioner(self, seed: int) -> Conditioner:
        return Conditioner(self.vae, self.geometry, seed, self.network.config.conditioning.anchored)


def as_array(image: Picture) -> npt.NDArray[np.uint8]:
    """Any picture as (H, W, 3) uint8."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise ValueError(f"picture of shape {array.shape}, {array.dtype}: send (height, width, 3) of uint8")
    return array


def fitted(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], Fit]:
    """The picture filling a frame (W, H), margins cut off, and the mapping of coordinates."""
    fit = Fit.of((image.shape[1], image.shape[0]), size)
    left, top = (max(-offset / fit.scale, 0.0) for offset in fit.offset)
    box = (left, top, min(left + size[0] / fit.scale, fit.source[0]), min(top + size[1] / fit.scale, fit.source[1]))
    frame = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=box)
    return np.asarray(frame), fit
