"""Training: stages, the loop that drives them, recipes, and checkpoints that survive anything."""

from motionstream.train.checkpoint import newest_weights
from motionstream.train.loop import DivergedError, Outcome
from motionstream.train.recipe import Recipe
from motionstream.train.recipes import named
from motionstream.train.run import train

__all__ = ["DivergedError", "Outcome", "Recipe", "named", "newest_weights", "train"]
