"""Pixels ↔ latents."""

from motionstream.vae.contract import Memory, VideoVAE
from motionstream.vae.detail import Detail, DetailConfig
from motionstream.vae.tiny import TinyVAE, TinyVAEConfig

__all__ = ["Detail", "DetailConfig", "Memory", "TinyVAE", "TinyVAEConfig", "VideoVAE"]
