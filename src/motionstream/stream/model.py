"""`StreamingModel`: a trained network and its VAE, ready to open streams on pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from motionstream.conditioning import AnyConditioner, PictureEncoder, PromptEncoder, TrackConditioner
from motionstream.dit import TextContext
from motionstream.geometry import Fit, Geometry
from motionstream.sampling import MotionModel, PlainStep, RolloutConfig
from motionstream.sampling.step import StepMaker
from motionstream.stream.finisher import AnyFinisher, NoFinisher
from motionstream.stream.sink import FIXED, policy
from motionstream.stream.state import Snapshots, StreamState
from motionstream.stream.stream import Stream, StreamParts
from motionstream.stream.video import read_image, upright_rgb
from motionstream.vae import VideoVAE
from motionstream.vae.pixels import from_image

Picture = str | Path | Image.Image | npt.NDArray[np.uint8]
ConditionerMaker = Callable[[VideoVAE, Geometry, int], AnyConditioner]
"""(VAE, geometry, seed) → what makes the conditioning of one stream."""


class StreamingModel:
    """What `motionstream.load` gives.

    network and vae are on one device, in one dtype, in inference mode. rollout_config: sizes of the rollout, free to
    choose at run time. hash: of the weights, named in figures and snapshots. conditioner: picture
    and tracks → conditioning, by default the paper's. finisher: what is done to decoded frames. reads_prompt: whether
    the network reads the prompt, or the finisher alone.
    prompts: the text encoder of a network that has none of its own (Wan's UMT5). pictures: the encoder for its
    cross-attention to the first picture (Wan 2.1's CLIP). chunk_step: how chunks are made, by default plainly.
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
        *,
        conditioner: ConditionerMaker = TrackConditioner,
        finisher: AnyFinisher | None = None,
        prompts: PromptEncoder | None = None,
        pictures: PictureEncoder | None = None,
        chunk_step: StepMaker = PlainStep,
        reads_prompt: bool = True,
    ) -> None:
        self.name, self.geometry, self.fps, self.hash = name, geometry, fps, hash
        self.network = network.eval().requires_grad_(False)
        self.vae = vae.eval().requires_grad_(False) if isinstance(vae, nn.Module) else vae
        self.finisher: AnyFinisher = NoFinisher() if finisher is None else finisher
        self.prompts, self.pictures, self.reads_prompt = prompts, pictures, reads_prompt
        self.device, self.dtype = network.like.device, network.like.dtype
        self._make_conditioner, self._make_step = conditioner, chunk_step
        self.rollout_config = rollout_config

    @property
    def rollout_config(self) -> RolloutConfig:
        """Sizes of the rollout and times of its calls. Set it before streams are opened that should have them."""
        return self.chunk_step.rollout_config

    @rollout_config.setter
    def rollout_config(self, rollout_config: RolloutConfig) -> None:
        grid = self.network.dit.grid(self.geometry.latent_height, self.geometry.latent_width)
        self.chunk_step = self._make_step(self.network, rollout_config, grid)
        self.decode = self.chunk_step.decoder(self.vae)

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the frames, in pixels."""
        return self.geometry.size

    def open(self, image: Picture, prompt: str = "", seed: int = 0, sink: str = FIXED) -> Stream:
        """A stream that starts with this picture, fitted to `size` by resize and centre-crop, never distorted.

        image: path, PIL picture or (H, W, 3) uint8. sink: "fixed" keeps the first latents as attention sink for ever,
        as in the paper; "refresh" replaces them once the view has left the first picture (`sink.py`).
        Raises ValueError or OSError on what is not a picture, ValueError on another sink.
        """
        policy(sink)
        frame, fit = fitted(as_array(image), self.size)
        parts = self._parts(seed)
        with torch.inference_mode():
            pixels = from_image(frame).to(self.device, self.dtype)
            latent = self.vae.encode(pixels)
            state = StreamState(
                seed=seed,
                prompt=prompt,
                cache=self.chunk_step.cache(),
                conditioner=parts.conditioner.open(pixels[:, 0], latent),
                finisher=self.finisher.open(prompt, seed),
                first=latent,
                frame=pixels[:, 0],
                source=fit.source,
                image_tokens=None if self.pictures is None else self._image_tokens(self.pictures, frame),
                sink=sink,
            )
        return Stream(parts, state)

    def resume(self, snapshot: bytes) -> Stream:
        """The stream a snapshot was taken of. Raises ValueError if it is not one of this model's and this rollout's."""
        parts = self._parts(self._snapshots().seed_of(snapshot))
        return Stream(parts, parts.snapshots.from_bytes(snapshot, self.chunk_step.cache(), parts.conditioner))

    def context(self, prompt: str, image_tokens: Tensor | None = None) -> TextContext:
        """Keys and values of the cross-attention. image_tokens (1, L, image_dim): of the first picture, if read."""
        text = prompt if self.reads_prompt else ""
        with torch.inference_mode():
            if self.prompts is None:
                return self.network.context([text])
            encoded = self.prompts.encode([text])
            tokens = encoded.padded(self.network.dit.config.text_tokens).to(self.device, self.dtype)
            return self.network.dit.text_context(tokens, image_tokens, encoded.lengths)

    def conditioner(self, seed: int) -> AnyConditioner:
        """What makes the conditioning of a stream with this seed."""
        return self._make_conditioner(self.vae, self.geometry, seed)

    def _parts(self, seed: int) -> StreamParts:
        return StreamParts(
            self.geometry,
            self.fps,
            self.device,
            self.chunk_step,
            self.decode,
            self.conditioner(seed),
            self.finisher,
            self.context,
            self.reads_prompt,
            self._snapshots(),
        )

    def _snapshots(self) -> Snapshots:
        return Snapshots(self.hash, self.rollout_config, self.finisher, self.device)

    def _image_tokens(self, encoder: PictureEncoder, frame: npt.NDArray[np.uint8]) -> Tensor:
        return encoder.encode(frame).to(self.device, self.dtype)


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
