"""From a recipe's sizes to the network that is trained, and from one stage's weights to the next one's start."""

from __future__ import annotations

from pathlib import Path

from motionstream.conditioning import ConditioningConfig
from motionstream.dit.config import DiTConfig
from motionstream.sampling import ModelConfig, MotionModel
from motionstream.train.checkpoint import newest_weights
from motionstream.train.recipe import Network


def model_config(network: Network, latent_channels: int) -> ModelConfig:
    """Sizes of the whole network; channel counts follow from the VAE's."""
    conditioning = ConditioningConfig(latent_channels, network.track_channels, network.anchored)
    dit = DiTConfig(
        width=network.width,
        layers=network.layers,
        heads=network.heads,
        ffn=network.ffn,
        in_channels=latent_channels + conditioning.channels,
        out_channels=latent_channels,
        text_dim=network.text_dim,
        text_tokens=network.text_tokens,
        image_dim=None,
        patch=(1, 2, 2),
        freq_dim=256,
        eps=1e-6,
        qk_norm=True,
        cross_attn_norm=True,
    )
    return ModelConfig(dit, conditioning, network.parameterization)


def new_model(network: Network, latent_channels: int, start_from: Path | None = None) -> MotionModel:
    """A network with fresh weights, or with the averaged ones of a finished run."""
    model = MotionModel(model_config(network, latent_channels))
    if start_from is not None:
        model.load_state_dict(newest_weights(start_from, "ema", under="average"))
    return model
