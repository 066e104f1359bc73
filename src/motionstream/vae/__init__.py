"""Pixels ↔ latents."""

from motionstream.vae.contract import Memory, VideoVAE
from motionstream.vae.tiny import TinyVAE, TinyVAEConfig

__all__ = ["Memory", "TinyVAE", "TinyVAEConfig", "VideoVAE"]
