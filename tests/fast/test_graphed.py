"""Chunks over fixed buffers are the chunks of the plain loop: streams in turn, prompts changed, past the window."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch
from tests.small import GEOMETRY, picture, small_conditioning, small_model, small_vae
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.dit import RollingCache, TextContext
from motionstream.fast.fuse import fuse
from motionstream.fast.graph import WARM_UPS, Recorded
from motionstream.fast.graphed import SETTING, FixedContext, GraphedStep, chunk_step
from motionstream.fast.kernels import REFERENCE, FusedOps
from motionstream.fast.slots import SlotCache
from motionstream.sampling import ChunkInputs, ChunkStep, MotionModel, PlainStep, RolloutConfig, keyed
from motionstream.sampling.times import beside, host_times

CHUNKS = 5
SIZES = [(3, 3, 3), (3, 1, 3), (2, 3, 1)]
GRID = GEOMETRY.token_grid
TOLERANCE = 2e-5


def rollout_config(chunk: int = 3, sink: int = 3, window: int = 3, clean_pass: bool = True) -> RolloutConfig:
    return RolloutConfig(chunk, sink, window, (1.0, 0.9, 0.7), clean_pass)


def model(fused: bool | FusedOps = True, anchored: bool = False, device: str = "cpu") -> MotionModel:
    made = small_model(anchored).requires_grad_(False).to(device)
    if fused:
        made.dit = fuse(made.dit, None if fused is True else fused)  # type: ignore[arg-type]
    return made


@dataclass
class Live:
    """A stream without pixels: its cache and what it has made."""

    step: ChunkStep
    cache: RollingCache
    conditioning: Conditioning
    context: TextContext
    seed: int
    made: list[Tensor] = field(default_factory=list)

    def go_on(self) -> None:
        index, size = len(self.made), self.step.rollout_config.chunk
        part, noise = self.conditioning.slice(index * size, (index + 1) * size), keyed(self.seed)
        known = small_vae().encode(picture(1, self.seed)[:, None]).to(part.first) if index == 0 else None
        draw = lambda step, shape: noise(index, step, shape)  # noqa: E731
        inputs = ChunkInputs(part, self.context, draw, known)
        clean = self.step.denoise(self.cache, inputs)
        self.step.commit(self.cache, clean, inputs)
        self.made.append(clean)

    @property
    def all(self) -> Tensor:
        return torch.cat(self.made, 1)


def live(step: PlainStep | GraphedStep, seed: int = 0, prompt: str = "a red kite") -> Live:
    conditioning = small_conditioning(CHUNKS * step.rollout_config.chunk, seed=seed)
    return Live(step, step.cache(), conditioning, step.model.context([prompt]).detach(), seed)


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("fused", [True, False, REFERENCE], ids=["fused", "plain", "lean"])
@pytest.mark.parametrize("clean_pass", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_it_equals_the_plain_loop(
    sizes: tuple[int, int, int], clean_pass: bool, fused: bool | FusedOps, anchored: bool
) -> None:
    plain = live(PlainStep(model(False, anchored), rollout_config(*sizes, clean_pass), GRID))
    graphed = live(GraphedStep(model(fused, anchored), rollout_config(*sizes, clean_pass), GRID))
    assert type(plain.cache) is RollingCache
    for one in (plain, graphed):
        for _ in range(CHUNKS):
            one.go_on()
    torch.testing.assert_close(graphed.all, plain.all, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("clean_pass", [True, False])
def test_streams_in_turn_do_not_meet_and_share_all_buffers(clean_pass: bool) -> None:
    step = GraphedStep(model(), rollout_config(clean_pass=clean_pass), GRID)
    alone = [live(step, seed, prompt) for seed, prompt in ((0, "a red kite"), (1, "a boat, snow"))]
    for one in alone:
        for _ in range(CHUNKS):
            one.go_on()
    buffers, recordings = buffers_of(step), len(step._denoise) + len(step._commit)
    together = [live(step, seed, prompt) for seed, prompt in ((0, "a red kite"), (1, "a boat, snow"))]
    for turn in (0, 1, 1, 0, 0, 1, 0, 1, 1, 0):
        together[turn].go_on()
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.all, other.all)
    assert (alone[0].all - alone[1].all).abs().max() > 0.1
    assert buffers_of(step) == buffers
    assert len(step._denoise) + len(step._commit) == recordings, "the second round records nothing"
    assert recordings == 3 * (1 + clean_pass), "one a half for 0, 3 and 6 latents of past"


def buffers_of(step: GraphedStep) -> set[int]:
    """Where everything lies that a recording would read or write."""
    inputs = [part for each in step._buffers.values() for part in (*each.noise, each.clean, each.conditioning.volume)]
    prompts = [
        part for each in step._prompts.values() for layer in each.context.layers for pair in layer for part in pair
    ]
    return {each.data_ptr() for each in (*inputs, *prompts, step.slots.keys, step.slots.values)}


@pytest.mark.parametrize("clean_pass", [True, False])
@pytest.mark.parametrize("sink", [3, 1])
def test_a_prompt_changed_half_way_equals_the_plain_loop(sink: int, clean_pass: bool) -> None:
    """As a stream does it: the window is committed again under the new prompt, copied into the old one's place."""
    after, sizes = [], rollout_config(sink=sink, clean_pass=clean_pass)
    for step in (PlainStep(model(), sizes, GRID), GraphedStep(model(), sizes, GRID)):
        one = live(step)
        for _ in range(3):
            one.go_on()
        one.context = step.model.context(["a boat, snow"]).detach()
        one.cache.reset_window()
        again = one.conditioning.slice(6, 9)
        step.recommit(one.cache, one.made[-1], ChunkInputs(again, one.context, partial(keyed(one.seed), 2)))
        one.go_on(), one.go_on()
        after.append(one.all)
    torch.testing.assert_close(after[1], after[0], atol=TOLERANCE, rtol=0)
    unchanged = live(PlainStep(model(), sizes, GRID))
    for _ in range(CHUNKS):
        unchanged.go_on()
    assert (unchanged.all - after[0])[:, 9:].abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("committed", [0, 1, 2, 4])
def test_a_snapshot_half_way_goes_on_bit_for_bit_here_and_in_a_plain_step(committed: int) -> None:
    step = GraphedStep(model(), rollout_config(), GRID)
    one, other = live(step), live(step, seed=1)
    for _ in range(committed):
        one.go_on()
    state, twin, plain = one.cache.snapshot(), live(step), live(PlainStep(model(), rollout_config(), GRID))
    other.go_on()
    for copy in (twin, plain):
        copy.cache.restore(state)
        copy.made = list(one.made)
    for copy in (one, twin, plain):
        while len(copy.made) < CHUNKS:
            copy.go_on()
    assert torch.equal(one.all, twin.all)
    torch.testing.assert_close(plain.all, one.all, atol=TOLERANCE, rtol=0)


def test_prompts_of_differing_length_share_a_buffer() -> None:
    """Collapsed pads make prompts of any length; a long one after a short one and back leaves nothing behind."""
    step, plain = GraphedStep(model(), rollout_config(), GRID), PlainStep(model(), rollout_config(), GRID)
    wide = replace(step.model.dit.config, text_tokens=256)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randn(1, n, wide.text_dim, generator=generator) for n in (5, 40, 7, 150, 5)]
    for one in (step, plain):
        one.model.dit.reference.config = one.model.dit.config = wide  # type: ignore[union-attr]
    made = []
    for said in prompts:
        outputs = []
        for each in (step, plain):
            one = live(each)
            one.context = each.model.dit.text_context(said, None, [said.shape[1]])
            one.go_on(), one.go_on()
            outputs.append(one.all)
        torch.testing.assert_close(outputs[0], outputs[1], atol=TOLERANCE, rtol=0)
        made.append(outputs[0])
    assert (made[0] - made[2]).abs().max() > 100 * TOLERANCE
    assert sorted(step._prompts) == [(1, 128), (1, 256)]


def test_sizes_of_buffers_for_prompts() -> None:
    def key(tokens: int, most: int = 512, bias: bool = True) -> tuple[int, ...]:
        pair = torch.zeros(1, tokens, 2, 4), torch.zeros(1, tokens, 2, 4)
        return FixedContext.key_of(TextContext(((pair,),), torch.zeros(1, tokens) if bias else None), most)

    assert [key(n) for n in (1, 128, 129, 300, 512)] == [(1, 128), (1, 128), (1, 256), (1, 512), (1, 512)]
    assert key(70, most=77) == (1, 77)
    assert key(77, bias=False) == (0, 77)


def test_which_step_a_model_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = chunk_step(model(), rollout_config(), GRID)
    assert isinstance(on_cpu, PlainStep), "on a CPU nothing is recorded"
    assert isinstance(on_cpu.cache(), SlotCache)
    assert isinstance(chunk_step(model(), rollout_config(1, 3, 1), GRID).cache(), SlotCache)
    assert type(chunk_step(model(), rollout_config(1, 1, 3), GRID).cache()) is RollingCache, "longer than a chunk"
    assert isinstance(chunk_step(model(), rollout_config(), GRID, graphs=True), GraphedStep)
    monkeypatch.setenv(SETTING, "0")
    assert isinstance(chunk_step(model(), rollout_config(), GRID), PlainStep)
    with pytest.raises(ValueError, match="longer than a chunk"):
        chunk_step(model(), rollout_config(window=4), GRID, graphs=True)


def test_a_cache_of_another_kind_is_refused() -> None:
    step = GraphedStep(model(), rollout_config(), GRID)
    one = live(step)
    one.cache = PlainStep(model(), rollout_config(), GRID).cache()
    with pytest.raises(ValueError, match="the step's own"):
        one.go_on()
    one.cache = GraphedStep(model(), rollout_config(sink=1), GRID).cache()
    with pytest.raises(ValueError, match="the step's own"):
        one.go_on()


def test_a_stream_keeps_two_of_three_slots() -> None:
    step = GraphedStep(model(), rollout_config(), GRID)
    cache = step.cache()
    assert isinstance(cache, SlotCache)
    assert cache.keys.shape[2] * 3 == step.slots.keys.shape[2] * 2


def test_host_times_are_sent_once() -> None:
    latents = torch.zeros(2, 3, 1, 1, 1)
    t = host_times(0.25, latents, known=1)
    assert t.tolist() == [[0, 0.25, 0.25]] * 2
    assert beside(t, latents) is t
    there = latents.to("meta")
    assert beside(t, there) is beside(t.clone(), there)
    assert beside(t, there).device.type == "meta"


class StandIn:
    """A recording as CUDA makes it: without effect on tensors; its replay writes to the recorded result, and to no
    count on the host."""

    def __init__(self, recorded: Recorded[Tensor | None], slots: SlotCache) -> None:
        self.recorded, self.slots = recorded, slots
        kept = slots.keys.clone(), slots.values.clone()
        recorded._result = recorded.work()
        slots.keys.copy_(kept[0])
        slots.values.copy_(kept[1])

    def replay(self) -> None:
        counts, made, result = self.slots.counts, self.recorded.work(), self.recorded._result
        self.slots.recount(counts)
        if isinstance(made, Tensor) and isinstance(result, Tensor):
            result.copy_(made)


@pytest.mark.parametrize("clean_pass", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_warming_up_and_replaying_leave_the_streams_as_they_should_be(
    sizes: tuple[int, int, int], clean_pass: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of a recording on a GPU, with a stand-in for it."""

    def record(self: Recorded[Tensor | None]) -> None:
        for _ in range(WARM_UPS):
            self.work()
        if self.after_warm_up is not None:
            self.after_warm_up()
        self._graph = StandIn(self, step.slots)  # type: ignore[assignment]

    monkeypatch.setattr(Recorded, "_record", record)
    step = GraphedStep(model(), rollout_config(*sizes, clean_pass), GRID)
    monkeypatch.setattr(step._pool, "handle", "pool")
    plain = PlainStep(model(), rollout_config(*sizes, clean_pass), GRID)
    ones = [live(step), live(step, seed=1, prompt="a boat, snow")]
    expected = [live(plain), live(plain, seed=1, prompt="a boat, snow")]
    for _ in range(CHUNKS):
        for one in (*ones, *expected):
            one.go_on()
    for one, other in zip(ones, expected, strict=True):
        torch.testing.assert_close(one.all, other.all, atol=TOLERANCE, rtol=0)
    assert step.replays == len(step._denoise) + len(step._commit)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_graphs_on_a_gpu_equal_the_plain_loop() -> None:
    """Recorded, replayed, streams in turn."""
    plain, step = (kind(model(device="cuda"), rollout_config(), GRID) for kind in (PlainStep, GraphedStep))
    ones = [live(plain), live(step), live(step, seed=1, prompt="a boat, snow")]
    for one in ones:
        one.conditioning = Conditioning(*(part.cuda() for part in vars(one.conditioning).values()))
    for _ in range(CHUNKS):
        for one in ones:
            one.go_on()
    assert step.replays == 6
    torch.testing.assert_close(ones[1].all, ones[0].all, atol=1e-3, rtol=0)
