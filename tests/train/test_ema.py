"""The average of weights over training."""

from __future__ import annotations

import pytest
import torch
from tests.train.tiny_stage import TinyNet
from torch import nn

from motionstream.train.ema import EMA


def moved(net: nn.Module, by: float = 1.0) -> nn.Module:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += by
    return net


def test_follows_the_formula() -> None:
    net = nn.Linear(2, 1, bias=False).double()
    average = EMA(net, 0.9)
    expected = net.weight.detach().float().clone()
    for update in range(5):
        moved(net)
        average.update(net)
        decay = (1 + update) / (10 + update)
        expected = decay * expected + (1 - decay) * net.weight.detach().float()
    torch.testing.assert_close(average.average.weight.detach(), expected)


def test_rate_rises_to_decay() -> None:
    net = nn.Linear(2, 1)
    average = EMA(net, 0.5)
    rates = []
    for _ in range(20):
        rates.append(average.rate())
        average.update(net)
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates)
    assert rates[-1] == 0.5


def test_starts_late_with_the_weights_of_then() -> None:
    net = TinyNet()
    average = EMA(net, 0.9, start=3)
    for _ in range(3):
        average.update(moved(net))
    assert torch.equal(average.average.head.weight, net.head.weight)
    average.update(moved(net))
    assert not torch.equal(average.average.head.weight, net.head.weight)


def test_buffers_and_frozen_weights_are_copied_exactly() -> None:
    net = TinyNet()
    net.embedding.requires_grad_(False)
    average = EMA(net, 0.99)
    net.seen += 7
    before = net.embedding.weight.clone()
    for _ in range(4):
        average.update(net)
    assert int(average.average.seen) == 7
    assert torch.equal(average.average.embedding.weight, before)


def test_float32_and_frozen_whatever_the_network_is() -> None:
    average = EMA(TinyNet().bfloat16(), 0.9)
    parameters = list(average.average.parameters())
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in parameters)
    assert not average.average.training


def test_copy_to_another_dtype() -> None:
    net = TinyNet()
    average = EMA(net, 0.9)
    target = moved(TinyNet()).bfloat16()
    average.copy_to(target)
    assert torch.equal(target.head.weight, net.head.weight.bfloat16())


def test_checkpointed_like_a_module() -> None:
    net = TinyNet()
    average, other = EMA(net, 0.9), EMA(TinyNet(), 0.9)
    average.update(moved(net))
    other.load_state_dict(average.state_dict())
    assert other.rate() == average.rate()
    assert torch.equal(other.average.head.weight, average.average.head.weight)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        EMA(TinyNet(), decay)
