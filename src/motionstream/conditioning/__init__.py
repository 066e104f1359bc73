"""Prompt, picture and tracks → what the DiT is told."""

from motionstream.conditioning.anchor import Anchor
from motionstream.conditioning.conditioner import (
    Conditioner,
    ConditionerState,
    Conditioning,
    ConditioningConfig,
    Warped,
)
from motionstream.conditioning.prompt import (
    EncodedPrompts,
    PictureEncoder,
    PromptEncoder,
    TextEncoder,
    phrase_numbers,
)
from motionstream.conditioning.random_walk import bonds
from motionstream.conditioning.track_head import TrackHead
from motionstream.conditioning.track_volume import TrackBatch, identity_codes, track_volume
from motionstream.conditioning.warped_anchor import warp

__all__ = [
    "Anchor",
    "Conditioner",
    "ConditionerState",
    "Conditioning",
    "ConditioningConfig",
    "EncodedPrompts",
    "PictureEncoder",
    "PromptEncoder",
    "TextEncoder",
    "TrackBatch",
    "TrackHead",
    "Warped",
    "bonds",
    "identity_codes",
    "phrase_numbers",
    "track_volume",
    "warp",
]
