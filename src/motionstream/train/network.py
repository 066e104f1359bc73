"""From a recipe's sizes to the network that is trained, from one stage's weights to the next one's start, and to its
place: on a device, whole or split over ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import nn

from motionstream.conditioning import ConditioningConfig
from motionstream.dit import VideoDiT
from motionstream.dit.config import CONFIGS, DiTConfig
from motionstream.dit.layers import Block
from motionstream.sampling import ModelConfig, MotionModel
from motionstream.tiny.network import motion_model
from motionstream.train.activation_checkpointing import checkpoint_activations
from motionstream.train.checkpoint import newest_weights
from motionstream.train.parallelize import gathers_for, shard, world_size
from motionstream.train.recipe import NETWORK_SIZES, RECIPE_FILE, MotionRecipe, Network, Recipe, load
from motionstream.train.typed import unknown
from motionstream.wan.conversion import NETWORK_FILE
from motionstream.wan.weight_files import open_weights

R = TypeVar("R", bound=Recipe)
M = TypeVar("M", bound=nn.Module)


def model_config(network: Network, latent_channels: int) -> ModelConfig:
    """Sizes of the whole network; channel counts follow from the VAE's.

    Raises ValueError for a dit that is not in the table, or that is not for a VAE of so many channels.
    """
    conditioning = ConditioningConfig(latent_channels, network.track_channels, network.anchored)
    if network.dit:
        dit = CONFIGS.get(network.dit)
        if dit is None:
            raise ValueError(unknown("network.dit", network.dit, CONFIGS))
        if (made_for := dit.out_channels) != latent_channels:
            raise ValueError(
                f"network.dit = {network.dit!r} makes latents of {made_for} channels, the VAE has {latent_channels}"
            )
    else:
        dit = DiTConfig(
            **{name: getattr(network, name) for name in NETWORK_SIZES},
            in_channels=0,
            out_channels=latent_channels,
            image_dim=network.image_dim or None,
            patch=(1, 2, 2),
            freq_dim=256,
            eps=1e-6,
            qk_norm=True,
            cross_attn_norm=True,
        )
    return ModelConfig(replace(dit, in_channels=latent_channels + conditioning.channels), conditioning)


def new_model(network: Network, latent_channels: int, start_from: Path | None = None) -> MotionModel:
    """A network with fresh weights, with the averaged ones of a finished run, or with converted ones, in float32.

    start_from: a run's folder, or one that `motionstream convert` wrote. Weights are mapped from their files, so that
    the processes of one machine share them until they are put in place. Raises ValueError where they do not fit.
    """
    config, own_text = model_config(network, latent_channels), not network.encoded_text
    if start_from is None:
        return motion_model(config, own_text)
    with torch.device("meta"):
        model = motion_model(config, own_text)
    if (start_from / NETWORK_FILE).is_file():
        files = open_weights(start_from)
        weights = {name: files.read(name) for name in files.shapes}
    else:
        weights = newest_weights(start_from, "ema", under="average")
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    except RuntimeError as error:
        raise ValueError(f"weights of {start_from} do not fit the network: {' '.join(str(error).split())}") from None
    return model


def finished(run_dir: Path, kind: type[R], network_of: Callable[[R], M]) -> M:
    """A finished run's network, made by its recipe, with its averaged weights. Raises ValueError for another stage's
    run."""
    recipe = load(run_dir / RECIPE_FILE)
    if not isinstance(recipe, kind):
        raise ValueError(f"{run_dir} is a run of stage {recipe.stage!r}, not of {kind.stage!r}")
    network = network_of(recipe)
    network.load_state_dict(newest_weights(run_dir, "ema", under="average"))
    return network


def place(networks: Iterable[nn.Module], recipe: MotionRecipe) -> None:
    """Put a stage's networks where they train: on the recipe's device, split over the ranks if it has `sharded`.

    Before optimisers are made of their weights, and after copies are made of them.
    """
    for network in cast(Iterable[MotionModel], networks):
        if recipe.activation_checkpointing:
            checkpoint_activations(_blocks(network))
        if recipe.sharded and world_size() > 1:
            _shard(network, torch.bfloat16 if recipe.dtype == "bfloat16" else None)
        else:
            network.to(recipe.device)


def _shard(network: MotionModel, dtype: torch.dtype | None) -> None:
    """A block is a unit; its cross-attention another, since a prompt's keys and values are made apart from the pass.

    What is outside the blocks stays in float32: the times are embedded there.
    """
    for small in (network.track_head, network.text):
        if small is not None:
            shard(small)
    blocks = _blocks(network)
    dit = cast(VideoDiT, network.dit)
    shard(dit, (part for block in blocks for part in (block.cross_attn, block)), dtype)
    gathers_for(dit, "text_context")
    for block in blocks:
        gathers_for(block.cross_attn, "context")


def _blocks(network: MotionModel) -> list[Block]:
    """Of a network as it is trained, which is never the fused form."""
    return [cast(Block, block) for block in cast(VideoDiT, network.dit).blocks]
