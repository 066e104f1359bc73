"""The two halves of a live chunk, plainly or over fixed buffers that CUDA graphs are recorded of.

`denoise` gives the latents that are decoded and leave; `commit` writes them into the cache afterwards, while a viewer
looks at the frames, if they are not there already because the rollout has no clean pass. Both run THE chunk loop
(`rollout.py`); a step only decides over which tensors.

`GraphedStep` has one set of buffers for all streams: noise, conditioning, prompt and slots of the past. A stream keeps
slots of its own without room for a chunk; when it is its turn they are bound, that is copied to the shared ones
(calculated for Wan 1.3B on an H200: 1.65 GiB in 0.8 ms of a chunk's 170 ms) and written back as they change.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from motionstream.conditioning import Conditioning
from motionstream.dit import RollingCache, TextContext
from motionstream.fast.fuse import FusedDiT
from motionstream.fast.graph import GraphPool, Recorded, Replayed, fixed
from motionstream.fast.slots import SlotCache, slots_fit
from motionstream.sampling.model import MotionModel
from motionstream.sampling.rollout import ChunkInputs, RolloutConfig, commit_chunk, denoise_chunk, recommit_chunk
from motionstream.sampling.step import ChunkStep, DecodeStep, PlainStep
from motionstream.vae import Memory, VideoVAE

SETTING = "MOTIONSTREAM_GRAPHS"
SHORTEST_TEXT = 128
"""Keys of the smallest buffer for prompts of differing length; larger ones double. Most prompts are shorter."""


def chunk_step(
    model: MotionModel, rollout_config: RolloutConfig, grid: tuple[int, int], graphs: bool | None = None
) -> ChunkStep:
    """How a model's chunks are made. grid: (rows, columns) of tokens in a latent.

    graphs: None (as given) records CUDA graphs where that is possible: a fused model on a GPU, a window of at most one
    chunk, and not MOTIONSTREAM_GRAPHS=0 in the environment. True demands them and raises ValueError where they cannot
    be had; on other devices the same buffers are then used without graphs.
    """
    on_gpu = model.like.device.type == "cuda"
    possible = isinstance(model.dit, FusedDiT) and slots_fit(rollout_config.chunk, rollout_config.window)
    if graphs is None:
        graphs = on_gpu and possible and os.environ.get(SETTING) != "0"
    return GraphedStep(model, rollout_config, grid) if graphs else SlottedStep(model, rollout_config, grid)


class SlottedStep(PlainStep):
    """Both halves as they are; the past in fixed slots where its sizes allow that."""

    def cache(self) -> RollingCache:
        """An empty cache for a new stream: a `SlotCache`, or a `RollingCache` for a window longer than a chunk."""
        config = self.rollout_config
        return slots_of(self.model, config, self.grid) if slots_fit(config.chunk, config.window) else super().cache()


def slots_of(model: MotionModel, rollout_config: RolloutConfig, grid: tuple[int, int], room: bool = True) -> SlotCache:
    """Empty slots for a stream of the model. room: for the chunk at hand."""
    return SlotCache(
        model.dit.config,
        batch=1,
        grid=grid,
        chunk=rollout_config.chunk,
        sink=rollout_config.sink,
        window=rollout_config.window,
        dtype=model.like.dtype,
        device=model.like.device,
        room=room,
    )


class GraphedStep:
    """Both halves over fixed buffers: one graph for each fill of the slots (three for sink = window = chunk), a half.

    Streams of one model share it, under a lock. Raises ValueError on sizes without fixed slots, and on a GPU for a
    model that is not fused (it would wait for the device).
    """

    def __init__(self, model: MotionModel, rollout_config: RolloutConfig, grid: tuple[int, int]) -> None:
        if model.like.device.type == "cuda" and not isinstance(model.dit, FusedDiT):
            raise ValueError("CUDA graphs need a fused model: put fuse(network.dit) in its place first")
        self.model, self.rollout_config, self.grid = model, rollout_config, grid
        self.device = model.like.device
        self.slots = slots_of(model, rollout_config, grid)
        self._pool = GraphPool(self.device)
        self._bound: tuple[weakref.ref[SlotCache], int, int] | None = None
        self._buffers: dict[tuple[int, int], Buffers] = {}
        self._prompts: dict[object, FixedContext] = {}
        self._denoise: dict[object, Recorded[Tensor]] = {}
        self._commit: dict[object, Recorded[None]] = {}
        self._constants: dict[int, object] = {}
        self._lock = Lock()

    @property
    def replays(self) -> int:
        """Graphs recorded so far; 0 on devices that have none."""
        return sum(each.replays for each in self._denoise.values()) + sum(
            each.replays for each in self._commit.values()
        )

    def cache(self) -> SlotCache:
        """An empty cache for a new stream: slots without room for a chunk, which is in the shared ones."""
        return slots_of(self.model, self.rollout_config, self.grid, room=False)

    def denoise(self, cache: RollingCache, inputs: ChunkInputs) -> Tensor:
        """Clean latents of the next chunk."""
        with self._lock, torch.inference_mode():
            stream, latents = self._bind(cache), inputs.conditioning.latents
            key, buffers = self._fill_buffers(inputs.conditioning, inputs.known)
            for step, buffer in enumerate(buffers.noise):
                buffer.copy_(inputs.noise(step, tuple(buffer.shape)), non_blocking=True)
            prompt, counts = self._fill_prompt(inputs.context), self.slots.counts
            key = (*key, counts, prompt.key)
            if key not in self._denoise:
                restore = None if self.rollout_config.clean_pass else self._bind_again
                work = partial(self._denoised, buffers, prompt, counts)
                self._denoise[key] = Recorded(work, self._pool, after_warm_up=restore)
            written = self.slots.written(latents)
            clean = self._denoise[key].run().clone()
            if not self.rollout_config.clean_pass:
                self._hand_over(stream, counts, written, latents)
            self._keep()
            return clean

    def commit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        """See that the chunk denoised last is in the cache."""
        if self.rollout_config.clean_pass:
            self._commit_clean(cache, clean, inputs)

    def recommit(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        """Write an earlier chunk into the cache once more. Without a clean pass this is seldom, and not recorded."""
        if self.rollout_config.clean_pass:
            self._commit_clean(cache, clean, inputs)
            return
        with self._lock, torch.inference_mode():
            stream, latents = self._bind(cache), clean.shape[1]
            counts, written = self.slots.counts, self.slots.written(latents)
            recommit_chunk(self.model, self.slots, clean, inputs, self.rollout_config)
            self._hand_over(stream, counts, written, latents)

    def decoder(self, vae: VideoVAE) -> DecodeStep:
        """Recorded too."""
        return GraphedDecode(vae, self.device)

    def _commit_clean(self, cache: RollingCache, clean: Tensor, inputs: ChunkInputs) -> None:
        with self._lock, torch.inference_mode():
            stream = self._bind(cache)
            key, buffers = self._fill_buffers(inputs.conditioning, None)
            buffers.clean.copy_(clean)
            prompt, counts, latents = self._fill_prompt(inputs.context), self.slots.counts, clean.shape[1]
            written = self.slots.written(latents)
            key = (*key, counts, prompt.key)
            if key not in self._commit:
                work = partial(self._committed, buffers, prompt, counts)
                self._commit[key] = Recorded(work, self._pool, after_warm_up=self._bind_again)
            self._commit[key].run()
            self._hand_over(stream, counts, written, latents)
            self._keep()

    def _hand_over(self, stream: SlotCache, counts: tuple[int, int], written: slice, latents: int) -> None:
        """Give the stream what a run has written into the shared slots, and count it. counts: before that run."""
        self.slots.recount(counts)  # a replay counts nothing
        self.slots.advance(latents)
        stream.take(self.slots, written)
        self._mark_bound(stream)

    def _denoised(self, buffers: Buffers, prompt: FixedContext, counts: tuple[int, int]) -> Tensor:
        self.slots.recount(counts)
        config = self.rollout_config
        inputs = ChunkInputs(buffers.conditioning, prompt.context, lambda step, _: buffers.noise[step], buffers.known)
        return denoise_chunk(self.model, self.slots, inputs, config.times, commit=not config.clean_pass)

    def _committed(self, buffers: Buffers, prompt: FixedContext, counts: tuple[int, int]) -> None:
        self.slots.recount(counts)
        commit_chunk(self.model, self.slots, buffers.clean, buffers.conditioning, prompt.context)

    def _bind(self, cache: RollingCache) -> SlotCache:
        """Have this stream's past in the shared slots."""
        if not isinstance(cache, SlotCache) or (cache.sink, cache.window) != (self.slots.sink, self.slots.window):
            raise ValueError("this cache is not for this step: open streams with the step's own `cache()`")
        bound = None if self._bound is None else (self._bound[0](), *self._bound[1:])
        if bound != (cache, cache.version, cache.sink_version):
            self.slots.take(cache)
            self._mark_bound(cache)
        return cache

    def _mark_bound(self, cache: SlotCache) -> None:
        self._bound = weakref.ref(cache), cache.version, cache.sink_version

    def _bind_again(self) -> None:
        """Warming up what commits has written over the window: copy the stream's once more."""
        assert self._bound is not None
        cache = self._bound[0]()
        assert cache is not None
        self.slots.take(cache)

    def _fill_buffers(self, conditioning: Conditioning, known: Tensor | None) -> tuple[tuple[object, ...], Buffers]:
        """The buffers for chunks of these sizes, with this conditioning in them."""
        key = conditioning.latents, 0 if known is None else known.shape[1]
        if key not in self._buffers:
            self._buffers[key] = Buffers.like(conditioning, known, len(self.rollout_config.times))
        inputs = self._buffers[key]
        for buffer, tensor in zip(inputs.conditioning.tensors(), conditioning.tensors(), strict=True):
            buffer.copy_(tensor)
        if inputs.known is not None and known is not None:
            inputs.known.copy_(known)
        return key, inputs

    def _fill_prompt(self, context: TextContext) -> FixedContext:
        """The buffers for prompts of this kind, with this prompt in them."""
        key = FixedContext.key_of(context, self.model.dit.config.text_tokens)
        if key not in self._prompts:
            self._prompts[key] = FixedContext(context, key)
        self._prompts[key].load(context)
        return self._prompts[key]

    def _keep(self) -> None:
        """What the recordings read besides the buffers may be forgotten by the model, but not freed."""
        if isinstance(self.model.dit, FusedDiT) and self._pool.handle is not None:
            self._constants.update((id(each), each) for each in self.model.dit.constants())


class GraphedDecode:
    """A VAE's `decode_step`, recorded once for each set of shapes; a stream's first chunk is decoded as it is.

    Not tied to a stream: memory goes in and out, as without recording.
    """

    def __init__(self, vae: VideoVAE, device: torch.device) -> None:
        self.vae, self._replayed = vae, Replayed(self._decoded, device)

    def __call__(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """The next latents of a stream → their frames; memory None starts it."""
        if memory is None:
            return self.vae.decode_step(latents, None)
        video, *left = self._replayed([latents, *memory])
        return video, tuple(left)

    def _decoded(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        video, memory = self.vae.decode_step(given[0], tuple(given[1:]))
        return video, *memory


@dataclass(frozen=True)
class Buffers:
    """Buffers of one chunk. noise: of each call; clean: of the commit; known: first latents that are given."""

    noise: tuple[Tensor, ...]
    conditioning: Conditioning
    clean: Tensor
    known: Tensor | None

    @classmethod
    def like(cls, conditioning: Conditioning, known: Tensor | None, calls: int) -> Buffers:
        latents = conditioning.first.new_empty(()).expand(conditioning.latent_shape)
        return cls(
            tuple(fixed(latents) for _ in range(calls)),
            type(conditioning)(*(fixed(tensor) for tensor in conditioning.tensors())),
            fixed(latents),
            None if known is None else fixed(known),
        )


class FixedContext:
    """A prompt's keys and values in buffers that the next prompt is copied into.

    Prompts whose pads are collapsed differ in length: they share buffers of a few sizes, whose rest has bias −∞.
    """

    def __init__(self, like: TextContext, key: tuple[int, ...]) -> None:
        self.key = key
        layers = tuple(
            tuple((_longer(k, length), _longer(v, length)) for (k, v), length in zip(layer, key[1:], strict=True))
            for layer in like.layers
        )
        bias = None if like.bias is None else _longer(like.bias, key[1])
        self.context = TextContext(layers, bias)
        self._loaded: weakref.ref[TextContext] | None = None

    @staticmethod
    def key_of(context: TextContext, most: int) -> tuple[int, ...]:
        """Whether there is a bias, and the tokens of each branch's buffers. most: tokens of an uncollapsed text."""
        text, *picture = (k.shape[1] for k, _ in context.layers[0])
        if context.bias is None:
            return (0, text, *picture)
        size = SHORTEST_TEXT
        while size < text:
            size *= 2
        return (1, max(text, min(size, most)), *picture)

    def load(self, context: TextContext) -> None:
        """Put a prompt in, unless it is there."""
        if self._loaded is not None and self._loaded() is context:
            return
        for layer, given in zip(self.context.layers, context.layers, strict=True):
            for pair, theirs in zip(layer, given, strict=True):
                for buffer, part in zip(pair, theirs, strict=True):
                    buffer[:, : part.shape[1]] = part
        if self.context.bias is not None and context.bias is not None:
            self.context.bias.fill_(-torch.inf)
            self.context.bias[:, : context.bias.shape[1]] = context.bias
        self._loaded = weakref.ref(context)


def _longer(like: Tensor, length: int) -> Tensor:
    """A buffer of zeros like this, with `length` tokens."""
    return fixed(like[:, :1].expand(-1, length, *like.shape[2:]))
