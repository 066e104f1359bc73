"""Pixels ↔ latents: what every VAE offers, and the one place that converts pixels."""

from motionstream.vae.contract import Memory, VideoVAE

__all__ = ["Memory", "VideoVAE"]
