"""Pixels ↔ latents."""

from motionstream.vae.contract import Memory, VideoVAE
from motionstream.vae.detail import Detail, DetailConfig
from motionstream.vae.look import Look, LookConfig
from motionstream.vae.specks import Specks
from motionstream.vae.taehv import TaehvConfig, TaehvDecoder
from motionstream.vae.tiny import TinyVAE, TinyVAEConfig
from motionstream.vae.wan import WanVAE
from motionstream.vae.with_decoder import VideoDecoder, WithDecoder

__all__ = [
    "Detail",
    "DetailConfig",
    "Look",
    "LookConfig",
    "Memory",
    "Specks",
    "TaehvConfig",
    "TaehvDecoder",
    "TinyVAE",
    "TinyVAEConfig",
    "VideoDecoder",
    "VideoVAE",
    "WanVAE",
    "WithDecoder",
]
