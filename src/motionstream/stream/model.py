"""`StreamingModel`: a trained network and its VAE, ready to open streams on pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from motionstream.conditioning import Anchor, Conditioner, ConditionerState, Warped
from motionstream.dit import RollingCache, TextContext
from motionstream.geometry import Fit, Geometry
from motionstream.sampling import MotionModel, Rolling
from motionstream.stream.state import StreamState, from_bytes
from motionstream.stream.stream import Stream
from motionstream.stream.video import read_image, upright_rgb
from motionstream.vae import Detail, Memory, TinyVAE
from motionstream.vae.pixels import from_image

Picture = str | Path | Image.Image | npt.NDArray[np.uint8]


class StreamingModel:
    """What `motionstream.load` gives.

    network and vae are on one device, in one dtype, in inference mode. rolling: sizes of the rollout, free to
    choose at run time. hash: of the weights, so that figures and snapshots name what made them. detail: gives decoded
    frames the warped anchor's texture, if the model has that.
    """

    def __init__(
        self,
        name: str,
        network: MotionModel,
        vae: TinyVAE,
        geometry: Geometry,
        fps: float,
        rolling: Rolling,
        hash: str,
        detail: Detail | None = None,
    ) -> None:
        self.name, self.geometry, self.fps, self.rolling, self.hash = name, geometry, fps, rolling, hash
        self.network = network.eval().requires_grad_(False)
        self.vae = vae.eval().requires_grad_(False)
        self.detail = None if detail is None else detail.eval().requires_grad_(False)
        self.device = next(network.parameters()).device
        self.dtype = next(network.parameters()).dtype

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the frames, in pixels."""
        return self.geometry.size

    def open(self, image: Picture, prompt: str = "", seed: int = 0) -> Stream:
        """A stream that starts with this picture, fitted to `size` by resize and centre-crop, never distorted.

        image: path, PIL picture or (H, W, 3) uint8. Raises ValueError or OSError on what is not a picture.
        """
        frame, fit = fitted(as_array(image), self.size)
        with torch.inference_mode():
            pixels = from_image(frame).to(self.device, self.dtype)
            state = StreamState(
                seed=seed,
                prompt=prompt,
                cache=self._cache(),
                conditioner=ConditionerState(Anchor.of(pixels[:, 0])),
                first=self.vae.encode(pixels),
                frame=pixels[:, 0],
                source=fit.source,
            )
        return Stream(self, state)

    def resume(self, snapshot: bytes) -> Stream:
        """The stream a snapshot was taken of. Raises ValueError if it is not one of this model's."""
        return Stream(self, from_bytes(snapshot, self.hash, self._cache(), self.device))

    def decode(self, latents: Tensor, warped: Warped, memory: Memory | None) -> tuple[Tensor, Memory]:
        """The next latents of a stream (B, T, C, h, w) → the frames shown; warped: the anchor at those frames."""
        video, memory = self.vae.decode_step(latents, memory)
        return video if self.detail is None else self.detail(video, warped.frames, warped.support), memory

    def context(self, prompt: str) -> TextContext:
        """What the network reads of a prompt."""
        with torch.inference_mode():
            return self.network.context([prompt])

    def conditioner(self, seed: int) -> Conditioner:
        return Conditioner(self.vae, self.geometry, seed)

    def _cache(self) -> RollingCache:
        return RollingCache(
            self.network.dit.config,
            batch=1,
            tokens=self.geometry.tokens_per_latent,
            sink=self.rolling.sink,
            window=self.rolling.window,
            dtype=self.dtype,
            device=self.device,
        )


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
