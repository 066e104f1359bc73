"""Optimisers, schedules, and the guard around every change of weights."""

from __future__ import annotations

import math

import pytest
import torch
from tests.train.tiny_stage import TinyNet
from torch import Tensor, nn

from motionstream.train.ema import EMA
from motionstream.train.optim import Schedule, Updater, make_optimizer


def names_of(net: nn.Module, part: torch.optim.Optimizer) -> set[str]:
    names = {p: name for name, p in net.named_parameters()}
    return {names[p] for group in part.param_groups for p in group["params"]}


def loss_of(net: nn.Module) -> Tensor:
    loss: Tensor = net(torch.arange(8)).square().mean()
    return loss


def test_muon_takes_hidden_matrices_only() -> None:
    net = TinyNet()
    parts = make_optimizer(net, 1e-3, kind="muon").parts
    assert names_of(net, parts["muon"]) == {"hidden.weight"}
    assert names_of(net, parts["adamw"]) == {n for n, _ in net.named_parameters()} - {"hidden.weight"}


def test_frozen_parameters_are_left_out() -> None:
    net = TinyNet()
    net.head.requires_grad_(False)
    assert not any("head" in name for name in make_optimizer(net, 1e-3).names.values())
    with pytest.raises(ValueError, match="nothing to train"):
        make_optimizer(net.requires_grad_(False), 1e-3)


def test_vectors_are_not_decayed() -> None:
    net = TinyNet()
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    make_optimizer(net, 0.1, weight_decay=0.5).step()
    for name, parameter in net.named_parameters():
        expected = before[name] * (1 if parameter.ndim < 2 else 1 - 0.1 * 0.5)
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_state_continues_bit_for_bit(kind: str, layout: torch.memory_format) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 4)).to(memory_format=layout)

    def steps(net: nn.Module, optimizer: object, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            net(torch.ones(2, 3, 3, 3)).square().sum().backward()
            optimizer.step()

    whole = network()
    first = make_optimizer(whole, 1e-2, kind=kind)
    steps(whole, first, 3)
    copy = network()
    copy.load_state_dict(whole.state_dict())
    second = make_optimizer(copy, 1e-2, kind=kind)
    state = {k: {n: {m: v.clone() for m, v in s.items()} for n, s in p.items()} for k, p in first.state_dict().items()}
    contiguous = {k: {n: {m: v.contiguous() for m, v in s.items()} for n, s in p.items()} for k, p in state.items()}
    second.load_state_dict(contiguous)
    steps(whole, first, 3)
    steps(copy, second, 3)
    for mine, theirs in zip(whole.parameters(), copy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_rates_come_from_the_recipe_not_the_checkpoint() -> None:
    net = TinyNet()
    old, new = make_optimizer(net, 1e-2), make_optimizer(net, 1e-3)
    loss_of(net).backward()
    old.step()
    new.load_state_dict(old.state_dict())
    assert new.set_rate(0.5) == pytest.approx(5e-4)
    assert {g["lr"] for part in new.parts.values() for g in part.param_groups} == {5e-4}


def test_state_of_another_network_is_refused() -> None:
    net = TinyNet()
    optimizer = make_optimizer(net, 1e-2)
    loss_of(net).backward()
    optimizer.step()
    with pytest.raises(ValueError, match=r"for '0\.weight'|for 'embedding|for 'h"):
        make_optimizer(nn.Linear(2, 2), 1e-2).load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="this recipe has"):
        make_optimizer(net, 1e-2, kind="muon").load_state_dict(optimizer.state_dict())


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="adamw, muon"):
        make_optimizer(TinyNet(), 1e-3, kind="sgd")


def test_schedule() -> None:
    schedule = Schedule(warmup_steps=4, decay_fraction=0.5)
    assert [schedule(step, 0) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert schedule(10, 0.5) == 1
    assert schedule(10, 0.75) == pytest.approx(0.5)
    assert schedule(10, 1) == 0
    assert Schedule()(0, 1) == 1


@pytest.mark.parametrize("wrong", [{"warmup_steps": -1}, {"decay_fraction": 2}])
def test_schedule_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="decay"):
        Schedule(**wrong)


def test_accumulated_parts_equal_one_batch() -> None:
    def after(parts: list[Tensor]) -> nn.Module:
        torch.manual_seed(0)
        net = TinyNet()
        updater = Updater(net, make_optimizer(net, 1e-2), Schedule(), accumulate=len(parts))
        for part in parts:
            updater.backward({"loss": net(part).square().mean()})
        updater.apply(0, 0)
        return net

    numbers = torch.arange(8)
    whole, halves = after([numbers]), after([numbers[:4], numbers[4:]])
    for mine, theirs in zip(whole.parameters(), halves.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_what_passes_report_is_averaged_over_a_step_and_begins_anew_with_the_next() -> None:
    net = nn.Linear(1, 1, bias=False)
    updater = Updater(net, make_optimizer(net, 1e-3), Schedule(), accumulate=2)
    for figures in ((1.0, 3.0), (5.0, 7.0)):
        for figure in figures:
            updater.backward({"loss": 0 * net.weight.sum() + figure, "psnr": torch.tensor(2 * figure)})
        done = updater.apply(0, 0)
        mean = sum(figures) / 2
        assert (done["loss"], done["psnr"], done["skipped"]) == (mean, 2 * mean, 0)


def test_gradient_is_clipped_and_its_norm_told() -> None:
    net = nn.Linear(1, 1, bias=False)
    updater = Updater(net, make_optimizer(net, 1e-3), Schedule(), clip=0.5)
    seen = []
    updater.optimizer.step = lambda: seen.append(net.weight.grad.clone())  # type: ignore[method-assign]
    updater.backward({"loss": 30 * net.weight.sum()})
    assert updater.apply(0, 0)["grad_norm"] == pytest.approx(30)
    assert float(seen[0]) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("spoil", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(spoil: float, where: str) -> None:
    net = TinyNet()
    average = EMA(net, 0.5)
    updater = Updater(net, make_optimizer(net, 1e-1, kind="muon"), Schedule(), accumulate=2, ema=average)

    def step(bad: bool) -> dict[str, float]:
        loss = loss_of(net)
        if where == "gradient" and bad:
            net.hidden.weight.register_hook(lambda gradient: gradient * spoil)
        updater.backward({"loss": loss * (spoil if bad and where == "loss" else 1)})
        updater.backward({"loss": loss_of(net)})
        return updater.apply(0, 0)

    assert step(bad=False)["skipped"] == 0
    before = [t.clone() for t in (*net.state_dict().values(), *average.state_dict().values())]
    done = step(bad=True)
    assert done["skipped"] == 1
    assert math.isfinite(done["grad_norm"])
    after = [*net.state_dict().values(), *average.state_dict().values()]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    net.hidden.weight._backward_hooks = None
    assert step(bad=False)["skipped"] == 0
    assert all(torch.isfinite(p).all() for p in net.parameters())
