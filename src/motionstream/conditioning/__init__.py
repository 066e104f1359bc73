"""Prompt, picture and tracks → what the DiT is told."""

from motionstream.conditioning.conditioner import (
    Conditioner,
    ConditionerState,
    Conditioning,
    ConditioningConfig,
    Warped,
)
from motionstream.conditioning.prompt import EncodedPrompts, PictureEncoder, PromptEncoder
from motionstream.conditioning.track_head import TrackHead
from motionstream.conditioning.track_volume import TrackBatch, identity_codes, track_volume

__all__ = [
    "Conditioner",
    "ConditionerState",
    "Conditioning",
    "ConditioningConfig",
    "EncodedPrompts",
    "PictureEncoder",
    "PromptEncoder",
    "TrackBatch",
    "TrackHead",
    "Warped",
    "identity_codes",
    "track_volume",
]
