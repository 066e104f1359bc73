"""The other process, on a stand-in for Self-Forcing's checkout: same calls, same cache layout, none of its code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from motionstream import cli, errors
from motionstream.evaluate.speed.compare import EXACT, ROUNDED, bench_compare
from motionstream.evaluate.speed.self_forcing import SelfForcing
from motionstream.evaluate.speed.untrained import shape_of

CPU = torch.device("cpu")
SHAPE = shape_of("wan2.1-1.3b", 1, True, (64, 32))
ATTENTION = """
def flash_attention(q, k, v, **options):
    raise AssertionError("only on its authors' machines")
attention = flash_attention
"""
MODEL = """
from .attention import flash_attention
"""
CAUSAL = """
import torch
from torch import nn
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from wan.modules.attention import attention
from motionstream.dit import CONFIGS, VideoDiT
from motionstream.dit.layers import modulate, add_gated, layer_norm
from motionstream.dit.rope import rotary_table, rotate
from dataclasses import replace

print("a checkout that talks on stdout")


class CausalWanModel(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, model_type, patch_size, text_len, in_dim, dim, ffn_dim, freq_dim, text_dim, out_dim, num_heads,
                 num_layers, local_attn_size, sink_size, qk_norm, cross_attn_norm, eps):
        super().__init__()
        assert (local_attn_size, sink_size) == (9, 3)
        sizes = dict(width=dim, layers=num_layers, heads=num_heads, ffn=ffn_dim, in_channels=in_dim, eps=eps)
        plain = VideoDiT(replace(CONFIGS["wan2.1-1.3b"], **sizes, out_channels=out_dim, text_dim=text_dim,
                                 text_tokens=text_len, freq_dim=freq_dim))
        for name, part in plain.named_children():
            setattr(self, name, part)
        object.__setattr__(self, "plain", plain)
        for block in self.blocks:
            block.self_attn.max_attention_size = 9 * 1560

    def forward(self, x, t, context, seq_len, kv_cache, crossattn_cache, current_start):
        x = x.transpose(1, 2)
        grid = x.shape[-2] // 2, x.shape[-1] // 2
        tokens = grid[0] * grid[1]
        head_dim = kv_cache[0]["k"].shape[-1]
        begin, count = current_start // tokens, x.shape[1] * tokens
        table = rotary_table(range(begin, begin + x.shape[1]), grid, head_dim, x.device)
        most = self.blocks[0].self_attn.max_attention_size
        assert most == 9 * tokens == seq_len

        def look(layer, q, k, v):
            past, end = kv_cache[layer], current_start + count
            past["k"][:, current_start:end] = rotate(k, table).flatten(1, 2)
            past["v"][:, current_start:end] = v.flatten(1, 2)
            past["local_end_index"].fill_(end)
            keys, values = (past[name][:, max(0, end - most) : end] for name in ("k", "v"))
            return attention(rotate(q, table).flatten(1, 2), keys, values).reshape(q.shape)

        plain = self.plain
        time, steer = plain.embed_time(t)
        said, out = plain.text_context(context), plain.patchify(x)
        for layer, block in enumerate(self.blocks):
            out = block(out, steer, said.layers[layer], look, layer, "sdpa")
        return plain.unpatchify(plain.head(out, time), x.shape[-2]).transpose(1, 2)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    modules = folder / "wan" / "modules"
    modules.mkdir(parents=True)
    for package in (folder / "wan", modules):
        (package / "__init__.py").write_text("raise AssertionError('its text encoders are not wanted')")
    for name, source in (("attention", ATTENTION), ("model", MODEL), ("causal_model", CAUSAL)):
        (modules / f"{name}.py").write_text(source)
    return folder


def test_it_takes_its_turn_once_outputs_are_the_same(checkout: Path) -> None:
    pytest.importorskip("diffusers")
    found = bench_compare(SHAPE, CPU, rounds=1, self_forcing=checkout)
    assert found["difference_float32"]["self_forcing"] < EXACT
    assert found["difference"]["self_forcing"] < ROUNDED
    assert found["ratio"]["self_forcing"]["median"] > 0
    assert found["self_forcing"]["ms"]["p50"] > 0
    assert "self_forcing_same_attention" not in found["ratio"]
    assert found["attention"] in ("sdpa", "matmul")
    json.dumps(found, allow_nan=False)


def test_another_model_is_not_timed(checkout: Path, tmp_path: Path) -> None:
    """Keys that are not turned: what the real one would do with another layout."""
    pytest.importorskip("diffusers")
    modules = tmp_path / "wan" / "modules"
    modules.mkdir(parents=True)
    for file in (checkout / "wan" / "modules").glob("*.py"):
        (modules / file.name).write_text(file.read_text().replace("= rotate(k, table)", "= k"))
    with pytest.raises(RuntimeError, match="self_forcing: outputs differ"):
        bench_compare(SHAPE, CPU, rounds=1, self_forcing=tmp_path)


def test_a_checkout_that_cannot_be_used_is_said(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("diffusers")
    arguments = ["bench", "compare", "--layers", "1", "--size", "64x32", "--device", "cpu", "--self-forcing"]
    assert cli.run([*arguments, str(tmp_path)]) == errors.WRONG_INPUT
    assert "takes a checkout of Self-Forcing" in capsys.readouterr().err
    modules = tmp_path / "wan" / "modules"
    modules.mkdir(parents=True)
    (modules / "attention.py").write_text("")
    (modules / "model.py").write_text("")
    (modules / "causal_model.py").write_text("import something_of_its_own")
    with pytest.raises(ValueError, match=r"cannot be imported \(No module named 'something_of_its_own'\)"):
        SelfForcing(tmp_path, SHAPE, CPU, 0)
    picture = shape_of("wan2.1-1.3b-i2v", 1, True, (64, 32))
    with pytest.raises(ValueError, match="no causal model with a picture branch"):
        SelfForcing(checkout, picture, CPU, 0)
