"""Small random VideoDiTs for the tests: every weight non-zero, so that no branch is silent."""

from dataclasses import replace

import torch

from motionstream.dit import CONFIGS, DiTConfig, VideoDiT


def small_config(**changes: object) -> DiTConfig:
    sizes = {"width": 48, "heads": 2, "layers": 2, "ffn": 96, "text_dim": 20, "text_tokens": 7}
    channels = {"in_channels": 9, "out_channels": 4}
    return replace(CONFIGS["tiny"], **{**sizes, **channels, **changes})  # type: ignore[arg-type]


def small_model(seed: int = 0, **changes: object) -> VideoDiT:
    torch.manual_seed(seed)
    model = VideoDiT(small_config(**changes))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.12)
    return model.eval()
