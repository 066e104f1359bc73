"""Which model is planned: a name of the table or of the package, or a folder that holds one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from motionstream import model_folder, zoo
from motionstream.conditioning import ConditioningConfig
from motionstream.dit.config import CONFIGS
from motionstream.geometry import Geometry
from motionstream.model_folder import WAN, Live, live_of, network_of, tuples, undescribed
from motionstream.sampling import ModelConfig
from motionstream.tiny.vae import TinyVAEConfig
from motionstream.wan.model import LIVE

TRACK_CHANNELS = 16
SIZES = {
    "wan2.1": ((832, 480), (640, 352), (512, 288), (416, 240)),
    "wan2.2": ((1280, 704), (960, 544), (832, 480), (640, 352)),
}
"""Frames to try, the trained one first: on smaller ones a model runs, but was not trained."""
STRIDES = {"wan2.1": 8, "wan2.2": 16}
VAE_OF_CHANNELS = {16: "wan2.1", 48: "wan2.2"}


@dataclass(frozen=True)
class Subject:
    """A model's sizes. vae: of its own, or which of Wan's. sizes: (W, H) frames to try, the trained one first."""

    name: str
    network: ModelConfig
    live: Live
    vae: str | TinyVAEConfig
    sizes: tuple[tuple[int, int], ...]

    def geometry(self, size: tuple[int, int]) -> Geometry:
        """Raises ValueError for a frame that the model cannot have."""
        return Geometry(*size, spatial_stride=8 if isinstance(self.vae, TinyVAEConfig) else STRIDES[self.vae])


def names() -> list[str]:
    """Models known by name."""
    return [*(name for name in CONFIGS if name.startswith("wan")), *zoo.names()]


def subject(model: str) -> Subject:
    """The model of a name, or in a folder. Raises ValueError with the names there are."""
    if model in CONFIGS and model not in zoo.names():
        return _of_wan(model)
    if model in zoo.names() or Path(model).is_dir():
        return _of_folder(model, zoo.embedded(model) if model in zoo.names() else Path(model))
    raise ValueError(f"no model named {model!r} to plan: use one of {', '.join(names())}, or a folder of a model")


def _of_wan(name: str) -> Subject:
    """With track conditioning as the paper has it, and no warped anchor."""
    dit = CONFIGS[name]
    latent = dit.out_channels
    conditioning = ConditioningConfig(latent, TRACK_CHANNELS, anchored=False)
    network = ModelConfig(replace(dit, in_channels=latent + conditioning.channels), conditioning)
    vae = VAE_OF_CHANNELS[latent]
    return Subject(name, network, LIVE[vae], vae, SIZES[vae])


def _of_folder(name: str, folder: Path) -> Subject:
    header = model_folder.read_header(folder)
    network, live = network_of(header, folder), live_of(header, folder)
    try:
        if header["kind"] == WAN:
            vae = VAE_OF_CHANNELS[network.dit.out_channels]
            smaller = tuple(size for size in SIZES[vae] if size[0] * size[1] < live.size[0] * live.size[1])
            return Subject(name, network, live, vae, (live.size, *smaller))
        own = TinyVAEConfig(**tuples(header["vae"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise undescribed(folder, error) from error
    return Subject(name, network, live, own, (live.size,))
