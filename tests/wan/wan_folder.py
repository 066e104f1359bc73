"""Reduced Wan models as folders: every part a random one in its published layout, small enough for a test."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.small import randomised
from tests.wan.random_vae import save_vae

from motionstream.conditioning import ConditioningConfig
from motionstream.dit import CONFIGS
from motionstream.model_folder import Live, sha256, write_json
from motionstream.sampling import ModelConfig, MotionModel
from motionstream.wan.clip_image import IMAGE_ENCODER
from motionstream.wan.conversion import NETWORK_FILE
from motionstream.wan.model import PartPaths, describe_converted
from motionstream.wan.taehv import TaehvConfig, TaehvDecoder
from motionstream.wan.umt5 import TEXT_ENCODER, TOKENIZER

WORDS = ("<pad>", "</s>", "<unk>", "a", "boat", "sails", "in", "the", "rain", "it", "snows")
TEXT_DIM, CLIP_DIM, CLIP_TOKENS = 32, 48, 17
TOKENS = 8
SIZES = {"wan2.1": (64, 48), "wan2.2": (96, 64)}
BACKBONES = {"wan2.1": "wan2.1-1.3b-i2v", "wan2.2": "wan2.2-5b"}


def save_reduced(folder: Path, kind: str, tiny_decoder: bool = True) -> Path:
    """kind: "wan2.1", with CLIP tokens, or "wan2.2"."""
    folder.mkdir(parents=True)
    save_vae(folder / "vae", kind)
    save_text(folder / "text")
    if kind == "wan2.1":
        save_clip(folder / "clip")
    if tiny_decoder:
        save_decoder(folder / "tiny.safetensors", kind)
    config = reduced(kind)
    weights = attentive(config).state_dict()
    names = sorted(weights)
    halves = {"network-00001-of-00002.safetensors": names[::2], "network-00002-of-00002.safetensors": names[1::2]}
    for file, some in halves.items():
        save_file({name: weights[name].contiguous() for name in some}, folder / file)
    paths = PartPaths("vae", "text", "clip" if kind == "wan2.1" else None, "tiny.safetensors" if tiny_decoder else None)
    live = Live(SIZES[kind], 16.0, chunk=3, sink=3, window=3, steps=2, shift=5.0)
    hashes = {file: sha256(folder / file) for file in halves}
    write_json(folder / NETWORK_FILE, {"made_by": "a test", "network": asdict(config), "sha256": hashes})
    describe_converted(folder, f"reduced {kind}", paths, live)
    return folder


@torch.no_grad()
def attentive(config: ModelConfig) -> MotionModel:
    """A random network whose prompt and tracks show in the frames."""
    torch.manual_seed(0)
    network = MotionModel(config, text=False)
    randomised(network, 0.05)
    for name, weight in network.named_parameters():
        if "cross_attn.o" in name or "head" in name:
            weight.mul_(10)
    return network


def reduced(kind: str) -> ModelConfig:
    """Of the published architecture, narrow and shallow; tracks as in the paper, no anchor."""
    whole = CONFIGS[BACKBONES[kind]]
    conditioning = ConditioningConfig(whole.out_channels, track_channels=4)
    dit = replace(
        whole,
        width=48,
        layers=2,
        heads=2,
        ffn=96,
        in_channels=whole.out_channels + conditioning.channels,
        text_dim=TEXT_DIM,
        text_tokens=TOKENS,
        image_dim=None if whole.image_dim is None else CLIP_DIM,
    )
    return ModelConfig(dit, conditioning)


def save_text(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    (folder / TOKENIZER).mkdir(parents=True)
    tokenizer.save(str(folder / TOKENIZER / "tokenizer.json"))
    torch.manual_seed(0)
    sizes = {"d_model": TEXT_DIM, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "vocab_size": len(WORDS)}
    UMT5EncoderModel(UMT5Config(feed_forward_proj="gated-gelu", **sizes)).save_pretrained(folder / TEXT_ENCODER)


def save_clip(folder: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": CLIP_DIM, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPVisionConfig(image_size=28, patch_size=7, hidden_act="gelu", **sizes)
    CLIPVisionModel(config).save_pretrained(folder / IMAGE_ENCODER)


@torch.no_grad()
def save_decoder(file: Path, kind: str) -> None:
    """Random, its frames around grey, so that no difference is cut off."""
    torch.manual_seed(0)
    channels, patch = (16, 1) if kind == "wan2.1" else (48, 2)
    decoder = TaehvDecoder(TaehvConfig(latent_channels=channels, patch=patch, widths=(16, 16, 8, 8)))
    last = decoder.decoder[-1]
    last.weight.mul_(12)
    last.bias.fill_(0.5)
    decoder.save(file)
