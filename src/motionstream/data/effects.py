"""Weather, light and film effects on a whole clip: given by the prompt, not by tracks.

Every effect is a function (frames, strength, rng) → frames on (F, 3, H, W) float32 in [0, 1], strength (F,) in [0, 1].
It may write into the frames that it is given. All random numbers are from `rng`: CPU and GPU draw the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.floating]
Apply = Callable[[Tensor, Tensor, np.random.Generator], Tensor]
NONE = "none"
SHARE = 0.5
"""Of clips that have an effect, by default."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Effect:
    """phrases: used in captions. synonyms: other words for it. apply: draws it on frames."""

    name: str
    phrases: tuple[str, ...]
    synonyms: tuple[str, ...]
    apply: Apply


EFFECTS: list[Effect] = []


def _effect(name: str, phrases: tuple[str, ...], synonyms: tuple[str, ...]) -> Callable[[Apply], Apply]:
    """Adds a function to `EFFECTS`, in order of definition."""

    def add(apply: Apply) -> Apply:
        EFFECTS.append(Effect(name, phrases, synonyms, apply))
        return apply

    return add


def draw_strength(rng: np.random.Generator, frames: int) -> npt.NDArray[np.float32]:
    """(F,) strength in [0, 1]. Mostly 0 in frame 0, so that only the prompt gives the effect."""
    if rng.random() < 0.15:
        return np.ones(frames, np.float32)
    begin, length = (rng.uniform(0, 8), rng.uniform(4, 16)) if rng.random() < 0.8 else (-4.0, 12.0)
    ramp = np.clip((np.arange(frames) - begin) / length, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def _colour(frames: Tensor, *rgb: float) -> Tensor:
    return torch.tensor(rgb, device=frames.device)[None, :, None, None]


def _blend(frames: Tensor, other: Tensor, amount: Tensor) -> Tensor:
    """frames + amount · (other − frames), in place. amount: (F,) or broadcastable to (F, 1, H, W)."""
    weight = amount[:, None, None, None] if amount.ndim == 1 else amount
    return frames.mul_(1 - weight).add_(other * weight)


def _splat(xy: Array, sigma: Array, opacity: Array, size: tuple[int, int], reach: int, device: torch.device) -> Tensor:
    """(F, 1, H, W) in [0, 1]: soft round dots at (F, P, 2) pixels, sigma and opacity (P,), (2·reach + 1)² taps."""
    count = len(xy)
    at = torch.from_numpy(xy.astype(np.float32)).to(device)
    offset = torch.arange(-reach, reach + 1, device=device)
    cell = at.floor().long()[..., None] + offset  # (F, P, 2, taps)
    falloff = -0.5 / torch.from_numpy(sigma.astype(np.float32)).to(device)[:, None, None] ** 2
    taps = torch.exp((cell + 0.5 - at[..., None]) ** 2 * falloff)
    limit = torch.tensor(size, device=device)[:, None]
    taps = taps * ((cell >= 0) & (cell < limit))
    strength = torch.from_numpy(opacity.astype(np.float32)).to(device)[:, None, None]
    value = taps[:, :, 1, :, None] * taps[:, :, 0, None, :] * strength
    cell = cell.clamp(min=0).minimum(limit - 1)
    index = cell[:, :, 1, :, None] * size[0] + cell[:, :, 0, None, :]
    out = torch.zeros(count, size[0] * size[1], device=device)
    out.scatter_add_(1, index.reshape(count, -1), value.reshape(count, -1))
    return out.clamp_(max=1).view(count, 1, size[1], size[0])


def _falling(rng: np.random.Generator, count: int, frames: int, size: tuple[int, int], velocity: Array) -> Array:
    """(F, P, 2) positions of particles that move by (P, 2) pixels a frame and wrap around."""
    room = np.array(size) + 24
    start = rng.random((count, 2)) * room
    return np.asarray((start + np.arange(frames)[:, None, None] * velocity) % room - 12)


def _size(frames: Tensor) -> tuple[int, int]:
    return frames.shape[3], frames.shape[2]


def _density(frames: Tensor) -> float:
    """Area in frames of 256×144 pixels, to scale the number of particles."""
    return frames.shape[2] * frames.shape[3] / (256 * 144)


@_effect(
    "snow",
    phrases=("it is snowing", "snow is falling", "it starts to snow", "heavy snowfall"),
    synonyms=("snow", "snowing", "snowy", "snowflakes", "snowstorm", "blizzard"),
)
def _snow(frames: Tensor, strength: Tensor, rng: np.random.Generator) -> Tensor:
    size = _size(frames)
    count = int(rng.integers(90, 220) * _density(frames))
    nearness = rng.uniform(0.4, 1.6, count)
    wind = rng.normal(0, 1.2)
    velocity = np.stack([wind * nearness, rng.uniform(1.6, 2.6) * nearness], -1)
    xy = _falling(rng, count, len(frames), size, velocity)
    time = np.arange(len(frames))[:, None]
    xy[..., 0] += nearness * 1.5 * np.sin(time * 0.25 + rng.uniform(0, 6, count))
    flakes = _splat(xy, 0.35 + 0.55 * nearness, np.full(count, 0.95), size, 3, frames.device)
    _blend(frames, _colour(frames, 0.86, 0.89, 0.94), strength * 0.18)
    return _blend(frames, _colour(frames, 0.98, 0.98, 1.0), flakes * strength[:, None, None, None])


@_effect(
    "rain",
    phrases=("it is raining", "rain is falling", "it starts to rain", "heavy rain"),
    synonyms=("rain", "raining", "rainy", "raindrops", "rainstorm", "downpour"),
)
def _rain(frames: Tensor, strength: Tensor, rng: np.random.Generator) -> Tensor:
    count = int(rng.integers(60, 130) * _density(frames))
    nearness = rng.uniform(0.6, 1.4, count)
    fall = np.array([rng.normal(0, 1.5), rng.uniform(9, 13)])
    head = _falling(rng, count, len(frames), _size(frames), nearness[:, None] * fall)
    along = np.linspace(0, 0.9, 9)[:, None] * fall
    xy = (head[:, :, None] - nearness[:, None, None] * along).reshape(len(frames), -1, 2)
    sigma, opacity = np.full(count * 9, 0.55), np.repeat(rng.uniform(0.2, 0.45, count), 9)
    streaks = _splat(xy, sigma, opacity, _size(frames), 1, frames.device).clamp_(max=0.6)
    _blend(frames, _colour(frames, 0.32, 0.36, 0.42), strength * 0.3)
    return _blend(frames, _colour(frames, 0.85, 0.9, 0.95), streaks * strength[:, None, None, None])


@_effect(
    "fog",
    phrases=("fog rolls in", "it is foggy", "thick fog", "mist drifts by"),
    synonyms=("fog", "mist", "misty", "haze", "it's foggy"),
)
def _fog(frames: Tensor, strength: Tensor, rng: np.random.Generator) -> Tensor:
    width, height = _size(frames)
    speed = rng.uniform(0.2, 1.5)
    travel = int(speed * len(frames)) + 1
    coarse = torch.from_numpy(rng.uniform(0, 1, (1, 1, 6, 12)).astype(np.float32)).to(frames.device)
    wide = torch.nn.functional.interpolate(coarse, (height, width + travel), mode="bicubic").clamp_(0, 1)[0]
    starts = [int(speed * frame) for frame in range(len(frames))]
    veil = torch.stack([wide[:, :, start : start + width] for start in starts])
    thickness = rng.uniform(0.2, 0.5)
    return _blend(
        frames,
        _colour(frames, 0.8, 0.82, 0.84),
        (thickness + 0.35 * veil) * strength[:, None, None, None],
    )


@_effect(
    "dusk",
    phrases=("dusk falls", "it is getting dark", "night is falling", "at dusk"),
    synonyms=("dusk", "twilight", "nightfall", "at night", "darkness falls", "getting dark"),
)
def _dusk(frames: Tensor, strength: Tensor, rng: np.random.Generator) -> Tensor:
    night = frames * (0.5 + 0.5 * frames) * _colour(frames, 0.34, 0.4, 0.66) * rng.uniform(0.75, 1.15)
    return _blend(frames, night, strength)


@_effect(
    "sunset",
    phrases=("at sunset", "a warm sunset", "golden evening light", "the sun goes down"),
    synonyms=("sunset", "evening light", "evening sun", "golden hour", "afterglow"),
)
def _sunset(frames: Tensor, strength: Tensor, rng: np.random.Generator) -> Tensor:
    height = frames.shape[2]
    glow = torch.linspace(0.5, 0.1, height, device=frames.device)[None, None, :, None] * rng.uniform(0.7, 1.1)
    warm = (frames * _colour(frames, 1.05, 0.78, 0.55)).add_(glow * _colour(frames, 0.85, 0.35, 0.1))
    return _blend(frames, warm, strength)


@_effect(
    "film grain",
    phrases=("with film grain", "old grainy film", "film grain and flicker"),
    synonyms=("film grain", "grainy", "grain", "old film"),
)
def _grain(frames: Tensor, strength: Tensor, rng: np.random.Generator) -> Tensor:
    width, height = _size(frames)
    # One field with a margin, cropped elsewhere in every frame, looks like new noise and is much cheaper.
    # Grains of two pixels: a VAE of this size cannot represent finer ones.
    coarse = rng.normal(0, rng.uniform(0.04, 0.07), (1, 1, height // 2 + 33, width // 2 + 33))
    field = torch.from_numpy(coarse.astype(np.float32))
    noise = torch.nn.functional.interpolate(field, scale_factor=2, mode="bilinear")[0, 0].to(frames.device)
    flicker = rng.normal(0, 0.025, len(frames))
    for frame, (top, left) in enumerate(rng.integers(0, 65, (len(frames), 2)).tolist()):
        grain = noise[top : top + height, left : left + width] + float(flicker[frame])
        frames[frame] += strength[frame] * grain
    return frames


@_effect(
    "black-and-white",
    phrases=("in black and white", "black-and-white film"),
    synonyms=("black and white", "monochrome", "greyscale", "grayscale"),
)
def _black_and_white(frames: Tensor, strength: Tensor, rng: np.random.Generator) -> Tensor:
    grey = (frames * _colour(frames, *LUMA)).sum(1, keepdim=True)
    contrast = rng.uniform(0.95, 1.2)
    return _blend(frames, (grey - 0.5) * contrast + 0.5, strength)


BY_NAME = {effect.name: effect for effect in EFFECTS}


def draw_effect(rng: np.random.Generator, share: float = SHARE) -> str:
    """The name of an effect with this probability, else NONE."""
    return NONE if rng.random() < 1 - share else EFFECTS[int(rng.integers(len(EFFECTS)))].name
