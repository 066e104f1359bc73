"""The sizes of a model, by a name of the table or of the package, or of a folder that holds one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from motionstream import model_folder, zoo
from motionstream.conditioning import ConditioningConfig
from motionstream.dit.config import CONFIGS
from motionstream.geometry import Geometry
from motionstream.model_folder import WAN, Live, live_of, network_of, tuples, undescribed
from motionstream.plan.external import FULL_VAES, FullVAE
from motionstream.sampling import ModelConfig
from motionstream.tiny.vae import TinyVAEConfig
from motionstream.wan.model import LIVE

TRACK_CHANNELS = 16
TINY_STRIDE = 8
"""Pixels per latent cell of a model with a VAE of its own."""
FRAME_SIZES = {
    "wan2.1": ((832, 480), (640, 352), (512, 288), (416, 240)),
    "wan2.2": ((1280, 704), (960, 544), (832, 480), (640, 352)),
}
"""Frames to try, the trained one first: on smaller ones a model runs, but was not trained."""


@dataclass(frozen=True)
class ModelSizes:
    """What decides a model's costs.

    vae: the sizes of its own, or the name of Wan's ("wan2.1", "wan2.2"). frame_sizes: (W, H) in pixels, the trained
    one first.
    """

    name: str
    network: ModelConfig
    live: Live
    vae: str | TinyVAEConfig
    frame_sizes: tuple[tuple[int, int], ...]

    def geometry(self, size: tuple[int, int] | None = None) -> Geometry:
        """Of frames of that (W, H), or of the trained one. Raises ValueError for a frame that the model cannot have."""
        stride = FULL_VAES[self.vae].stride if isinstance(self.vae, str) else TINY_STRIDE
        return Geometry(*(size or self.frame_sizes[0]), spatial_stride=stride)

    @property
    def full_vae(self) -> FullVAE | None:
        """Wan's; None where the model has its own."""
        return FULL_VAES[self.vae] if isinstance(self.vae, str) else None


def names() -> list[str]:
    """Models known by name."""
    return [*(name for name in CONFIGS if name.startswith("wan")), *zoo.names()]


def model_sizes(model: str) -> ModelSizes:
    """The model of a name, or in a folder. Raises ValueError with the names there are."""
    if model in CONFIGS and model not in zoo.names():
        return _of_wan(model)
    if model in zoo.names() or Path(model).is_dir():
        return _of_folder(model, zoo.folder_of(model))
    raise ValueError(f"no model named {model!r} to plan: use one of {', '.join(names())}, or a folder of a model")


def _of_wan(name: str) -> ModelSizes:
    """With track conditioning as the paper has it, and no warped anchor."""
    dit = CONFIGS[name]
    conditioning = ConditioningConfig(dit.out_channels, TRACK_CHANNELS, anchored=False)
    network = ModelConfig(replace(dit, in_channels=dit.out_channels + conditioning.channels), conditioning)
    vae = _wan_vae(dit.out_channels)
    return ModelSizes(name, network, LIVE[vae], vae, FRAME_SIZES[vae])


def _wan_vae(channels: int) -> str:
    return next(name for name, vae in FULL_VAES.items() if vae.channels == channels)


def _of_folder(name: str, folder: Path) -> ModelSizes:
    header = model_folder.read_header(folder)
    network, live = network_of(header, folder), live_of(header, folder)
    try:
        if header["kind"] == WAN:
            vae = _wan_vae(network.dit.out_channels)
            smaller = (size for size in FRAME_SIZES[vae] if size[0] * size[1] < live.size[0] * live.size[1])
            return ModelSizes(name, network, live, vae, (live.size, *smaller))
        own = TinyVAEConfig(**tuples(header["vae"]))
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise undescribed(folder, error) from error
    return ModelSizes(name, network, live, own, (live.size,))
