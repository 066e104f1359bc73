"""In which precision a stage computes."""

from __future__ import annotations

import torch


def autocast(device: torch.device, dtype: str) -> torch.autocast:
    """Autocast to a recipe's dtype; with "float32" everything is computed as the weights are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")
