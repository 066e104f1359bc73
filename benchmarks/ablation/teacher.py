"""A trained teacher as a generator: the whole clip at once, under joint guidance (paper Section 3.1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from motionstream.conditioning import TrackBatch, TrackConditioner
from motionstream.evaluate.baselines import Generate
from motionstream.evaluate.metrics import Video
from motionstream.geometry import Geometry
from motionstream.sampling import Control, Guidance, MotionModel, keyed_noise, sample_clip
from motionstream.tiny.conditioner import AnchoredConditioner
from motionstream.tiny.vae import TinyVAE
from motionstream.tracks import Tracks
from motionstream.train.motion_data import frozen_vae
from motionstream.train.network import new_model
from motionstream.train.recipe import RECIPE_FILE, TeacherRecipe, load
from motionstream.vae.pixels import from_image, to_frames


@dataclass(frozen=True)
class Teacher:
    """network, vae: on one device, in float32. frames: of the clips it was trained on, 1 + 4 n. shift: of its times.

    name: of the training stage. hash: of the network's weights.
    """

    name: str
    network: MotionModel
    vae: TinyVAE
    geometry: Geometry
    frames: int
    shift: float
    hash: str

    def generator(self, guidance: Guidance, steps: int) -> Generate:
        """(first frame, tracks, caption, seed) → (F, H, W, 3) by so many steps of the guided ODE."""

        @torch.inference_mode()
        def generate(first: Video, tracks: Tracks, caption: str, seed: int) -> Video:
            device = next(self.network.parameters()).device
            picture = from_image(first).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
                control = self._control(picture[:, 0], TrackBatch.of([tracks], device), caption, seed)
                given = self.vae.encode(picture).float()
                noise = keyed_noise(control.conditioning.latent_shape, seed, 0, 0).to(device)
                latents = sample_clip(self.network, given, control, noise, steps, self.shift, guidance)
                return to_frames(self.vae.decode(latents)[0])

        return generate

    def _control(self, picture: torch.Tensor, tracks: TrackBatch, caption: str, seed: int) -> Control:
        make = AnchoredConditioner if self.network.config.conditioning.anchored else TrackConditioner
        conditioner = make(self.vae, self.geometry, seed)
        hidden = tracks.hidden(torch.ones(len(tracks.ids), dtype=torch.bool))
        return Control(
            conditioner.clip(picture, tracks).to(torch.float32),
            self.network.context([caption]),
            conditioner.clip(picture, hidden).to(torch.float32),
            self.network.context([""]),
        )


def load_teacher(runs: Path, stage: str, device: str) -> Teacher:
    """The averaged weights of stage "teacher" or "teacher-mask" in a chain's folder, which may still be training.

    Raises ValueError or OSError that names what is missing there.
    """
    recipe = load(runs / stage / RECIPE_FILE)
    if not isinstance(recipe, TeacherRecipe):
        raise ValueError(f"stage {stage!r} does not train a teacher: use teacher or teacher-mask")
    vae = frozen_vae(runs / recipe.vae, device, torch.float32)
    network = new_model(recipe.network, vae.latent_channels, runs / stage).to(device).eval().requires_grad_(False)
    geometry = Geometry(*recipe.size)
    return Teacher(stage, network, vae, geometry, recipe.frames, recipe.shift, _hash(network))


def _hash(network: MotionModel) -> str:
    """The first 12 digits of the SHA-256 of its weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
