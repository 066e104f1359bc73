"""The maths of rectified flow, stated once."""

from motionstream.diffusion.path import TIMESTEPS, clean_of, euler, interpolate, per_cell, velocity_of
from motionstream.diffusion.schedule import few_step_times, ode_times, sample_times, shifted

__all__ = [
    "TIMESTEPS",
    "clean_of",
    "euler",
    "few_step_times",
    "interpolate",
    "ode_times",
    "per_cell",
    "sample_times",
    "shifted",
    "velocity_of",
]
