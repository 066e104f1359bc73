"""The perceptual term of the stages that train decoders: LPIPS with weights that the user names."""

from __future__ import annotations

from motionstream.lpips import LpipsNetwork


def perceptual(weight: float, file: str) -> LpipsNetwork | None:
    """LPIPS with the weights in this file, or None where it weighs nothing. Raises ValueError if none is named."""
    if not weight:
        return None
    if not file:
        raise ValueError("no LPIPS weights: name the file (--lpips FILE), or train without (--set lpips_weight=0)")
    return LpipsNetwork.load(file)
