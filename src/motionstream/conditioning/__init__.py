"""Prompt, picture and tracks → what the DiT is conditioned on."""

from motionstream.conditioning.conditioner import (
    AnyConditioner,
    Conditioner,
    Conditioning,
    ConditioningConfig,
    TrackConditioner,
    first_and_tracks,
    first_channels,
)
from motionstream.conditioning.prompt import EncodedPrompts, PictureEncoder, PromptEncoder
from motionstream.conditioning.text_encoder import TextEncoder
from motionstream.conditioning.track_head import TrackHead
from motionstream.conditioning.track_volume import TrackBatch, identity_codes, track_volume

__all__ = [
    "AnyConditioner",
    "Conditioner",
    "Conditioning",
    "ConditioningConfig",
    "EncodedPrompts",
    "PictureEncoder",
    "PromptEncoder",
    "TextEncoder",
    "TrackBatch",
    "TrackConditioner",
    "TrackHead",
    "first_and_tracks",
    "first_channels",
    "identity_codes",
    "track_volume",
]
