"""The video diffusion transformer: one class for the teacher, the masked student and the cached student."""

from motionstream.dit.cache import RollingCache
from motionstream.dit.config import CONFIGS, DiTConfig
from motionstream.dit.mask import ChunkMask
from motionstream.dit.model import Over, TextContext, VideoDiT

__all__ = ["CONFIGS", "ChunkMask", "DiTConfig", "Over", "RollingCache", "TextContext", "VideoDiT"]
