"""From conditioning to latents: the teacher's ODE, the student's rollout, and guidance."""

from motionstream.sampling.guidance import Control, Guidance, guided_velocity
from motionstream.sampling.model import ModelConfig, MotionModel
from motionstream.sampling.noise import keyed_noise
from motionstream.sampling.ode import frame_times, sample_clip
from motionstream.sampling.rollout import ChunkInputs, RolloutConfig, commit_chunk, denoise_chunk, keyed, rollout
from motionstream.sampling.step import ChunkStep, PlainStep

__all__ = [
    "ChunkInputs",
    "ChunkStep",
    "Control",
    "Guidance",
    "ModelConfig",
    "MotionModel",
    "PlainStep",
    "RolloutConfig",
    "commit_chunk",
    "denoise_chunk",
    "frame_times",
    "guided_velocity",
    "keyed",
    "keyed_noise",
    "rollout",
    "sample_clip",
]
