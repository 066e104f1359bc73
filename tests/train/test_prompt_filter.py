"""The stage "prompt-filter": what it learns from, that it learns, and that it goes on from an earlier run."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.train.smoke import STEPS, changed, finite, prompt_filter_stage, weights

from motionstream.data.effects import BY_NAME
from motionstream.tiny.particles import KINDS
from motionstream.tiny.prompt_filter import CURVE, PARTICLE, shown, unbounded
from motionstream.train.checkpoint import newest_weights
from motionstream.train.prompt_filter import colour_error


def test_what_is_cut_off_has_a_gradient_unless_it_is_to_be_cut_off() -> None:
    made = torch.tensor([-1.3, -1.3, 1.2, 1.2, 0.5, -0.5], requires_grad=True)
    true = torch.tensor([-0.9, -1.0, 1.0, 0.8, 0.5, -1.0])
    error = colour_error(made, true)
    error.backward()
    assert error.item() == pytest.approx((0.4**2 + 0.4**2 + 0.5**2) / 6)
    assert made.grad is not None
    assert made.grad.sign().tolist() == [-1, 0, 0, 1, 0, 1]


def test_a_curve_that_made_a_dark_picture_black_finds_out_of_it() -> None:
    """Dusk, as the effect draws it, on a picture as dark as a forest."""
    generator = torch.Generator().manual_seed(0)
    dark = torch.rand(1, 3, 24, 32, generator=generator) * 0.3
    dusk = BY_NAME["dusk"].apply(dark.clone(), torch.ones(1), _Even())  # type: ignore[arg-type]
    plain, true = (frames[None] * 2 - 1 for frames in (dark, dusk))
    amounts, particles = torch.zeros(1, 1, sum(PARTICLE)), torch.zeros(1, 1, KINDS + 1, 24, 32)
    curve = torch.zeros(1, 1, sum(CURVE))
    curve[..., 12:15] = -0.7  # below black nearly everywhere
    assert (shown(plain, curve, amounts, particles) == -1).float().mean() > 0.6
    curve.requires_grad_()
    optimizer = torch.optim.Adam([curve], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        colour_error(unbounded(plain, curve, amounts, particles), true).backward()
        optimizer.step()
    made = shown(plain, curve.detach(), amounts, particles)
    assert (made == -1).float().mean() < 0.02
    assert (made - true).abs().max() < 0.02


class _Even:
    """Draws the middle of every range."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


def test_every_world_is_shown_under_every_effect_and_the_phrases_of_its_prompts_are_learned(chain: Path) -> None:
    stage = prompt_filter_stage(chain)
    drawn = stage._drawn(0, [0, 8])
    assert torch.equal(drawn.true[0], drawn.plain[0]), "the first is without an effect"
    assert all((drawn.true[case] - drawn.plain[case])[1].abs().max() > 0.05 for case in range(1, len(drawn.true)))
    assert len({tuple(row) for row in drawn.phrases.tolist()}) == len(drawn.phrases)
    assert (drawn.particles[0] != drawn.particles[1]).any(), "each of another time"
    before = weights(stage.prompt_filter)
    losses = [stage.step(step, step / STEPS) for step in range(3)]
    assert ["texture" in one for one in losses] == [step / STEPS >= stage.recipe.texture_from for step in range(3)]
    assert all(finite(one) for one in losses)
    assert changed(before, stage.prompt_filter) == set(before)
    assert not stage.prompt_filter.amounts.weight[0].any(), "padding stays silent"


def test_it_learns_colours_and_then_textures(chain: Path) -> None:
    """Of the effects' error in colour, and then in texture, less is left after some steps on the same worlds."""
    stage = prompt_filter_stage(chain, lr=1e-3, warmup_steps=0)
    found = [stage._losses([0, 1], textured=True, sparsity_weight=0.0)]
    for part, steps in ((0.0, 30), (0.3, 45)):  # of the run: before particles are compared, and after
        for step in range(steps):
            stage.next = 0
            stage.step(step, part)
        found.append(stage._losses([0, 1], textured=True, sparsity_weight=0.0))
    first, coloured, last = found
    assert coloured["colour"] < 0.7 * first["colour"]
    assert last["texture"] < 0.7 * coloured["texture"], "particles were anything until they were compared"


def test_particles_are_penalised_once_they_have_grown(chain: Path) -> None:
    stage = prompt_filter_stage(chain, sparsity_weight=0.1, sparsity_from=0.5, texture_from=0.0)
    with patch.object(stage, "_losses", wraps=stage._losses) as losses:
        for progress in (0.4, 0.6, 1.0):
            stage.step(0, progress)
    weights_given = [call.args[-1] for call in losses.call_args_list]
    assert weights_given[0] == 0
    assert 0 < weights_given[1] < weights_given[2]
    assert weights_given[2] == pytest.approx(0.1)
    with torch.no_grad():
        free, penalised = (stage._losses([0], True, weight) for weight in (0.0, 0.1))
    torch.testing.assert_close(penalised["loss"] - free["loss"], 0.1 * free["sparsity"], rtol=1e-3, atol=0)


def test_it_goes_on_from_another_run(chain: Path) -> None:
    stage = prompt_filter_stage(chain, init_from="prompt-filter")
    first = newest_weights(chain / "prompt-filter", "ema", under="average")
    assert all(torch.equal(value, first[name]) for name, value in stage.prompt_filter.state_dict().items())
