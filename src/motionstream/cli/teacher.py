"""A teacher from the folder of a training run, ready to be evaluated."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motionstream.evaluate.teacher import Teacher
    from motionstream.sampling import MotionModel


def load_teacher(runs: Path, stage: str, device: str) -> Teacher:
    """The averaged weights of stage "teacher" or "teacher-mask" in a chain's folder, which may still be training.

    Raises ValueError or OSError that names what is missing there.
    """
    import torch

    from motionstream.evaluate.teacher import Teacher
    from motionstream.geometry import Geometry
    from motionstream.train.motion_data import frozen_vae
    from motionstream.train.network import new_model
    from motionstream.train.recipe import RECIPE_FILE, TeacherRecipe, load

    recipe = load(runs / stage / RECIPE_FILE)
    if not isinstance(recipe, TeacherRecipe):
        raise ValueError(f"stage {stage!r} does not train a teacher: use teacher or teacher-mask")
    vae = frozen_vae(runs / recipe.vae, device, torch.float32)
    network = new_model(recipe.network, vae.latent_channels, runs / stage).to(device).eval().requires_grad_(False)
    geometry = Geometry(*recipe.size)
    return Teacher(stage, network, vae, geometry, recipe.frames, recipe.shift, _hash(network))


def _hash(network: MotionModel) -> str:
    """The first 12 digits of the SHA-256 of its weights, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
