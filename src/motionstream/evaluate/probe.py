"""Which effect does a clip show? A small classifier on hand-made features, fitted on true clips.

The features measure what changed since the clip's first frame: colour along the tracks (so that motion is not taken
for change), texture over the frame, and flicker. Multinomial logistic regression on standardised features; its own
accuracy is measured on true clips of other pictures.

Legend: F frames, N points, K features, M clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy

from motionstream.data.effects import LUMA
from motionstream.evaluate.metrics import Video, unit_frames
from motionstream.tracks import Tracks

FEWEST_FRAMES = 9
FEWEST_POINTS = 12
"""Visible points below which colours are compared place by place."""
LATE_FRAMES = 5
"""Late frames whose colours are compared with the first."""
DETAIL = 0.04  # of full brightness, by which a particle differs from its surroundings
DECAY = 3e-3
TINY = 1e-3

Floats = npt.NDArray[np.float64]
Features = Mapping[str, float]


def features(video: Video, tracks: Tracks) -> dict[str, float]:
    """Features of a clip (F, H, W, 3), by name: its last third against its first frame.

    Raises ValueError on fewer than 9 frames, or tracks of another length.
    """
    if len(video) < FEWEST_FRAMES or tracks.frames != len(video):
        raise ValueError(f"{len(video)} frames, tracks of {tracks.frames}: send as many, {FEWEST_FRAMES} or more")
    frames = unit_frames(video)
    third = len(video) // 3
    late = np.linspace(len(video) - third, len(video) - 1, min(LATE_FRAMES, third)).round().astype(int)
    seen = [_colours(frames, tracks, int(frame)) | _texture(frames, int(frame)) for frame in late]
    mean = {name: float(np.mean([one[name] for one in seen])) for name in seen[0]}
    return mean | _flicker(frames[-third - 1 :], frames[: max(3, third // 2)])


def _light(frames: Tensor) -> Tensor:
    """(F, 3, H, W) → (F, H, W) brightness."""
    return (frames * frames.new_tensor(LUMA)[:, None, None]).sum(1)


def _colours(frames: Tensor, tracks: Tracks, frame: int) -> dict[str, float]:
    """Change of the colours of points that are visible in the first frame and in this one."""
    before, after, height = _same_places(frames, tracks, frame)
    change = after - before
    light, now = before @ np.array(LUMA), after @ np.array(LUMA)
    slope = float(np.mean((light - light.mean()) * (now - now.mean())) / (light.var() + TINY))
    rest = now - now.mean() - slope * (light - light.mean())
    low, middle, high = np.percentile(rest, (10, 50, 90))
    saturation, faded = (float(np.ptp(colour, axis=1).mean()) for colour in (before, after))
    warmer = change[:, 0] - change[:, 2]
    return {
        **dict(zip(("red", "green", "blue"), change.mean(0).tolist(), strict=True)),
        "light": float(np.log((now.mean() + 0.02) / (light.mean() + 0.02))),
        "contrast": slope,
        "saturation": faded - saturation,
        "saturation_log": float(np.log((faded + 0.02) / (saturation + 0.02))),
        "warmth_by_height": float(np.mean((warmer - warmer.mean()) * (height - height.mean())) / (height.var() + TINY)),
        "light_by_height": float(
            np.mean((now - light - (now - light).mean()) * (height - height.mean())) / (height.var() + TINY)
        ),
        "spread": float(rest.std()),
        "specks": float(high + low - 2 * middle),
        "darkest": float(np.percentile(now, 5) - np.percentile(light, 5)),
        "brightest": float(np.percentile(now, 95) - np.percentile(light, 95)),
    }


def _same_places(frames: Tensor, tracks: Tracks, frame: int) -> tuple[Floats, Floats, Floats]:
    """Colours (N, 3) in the first frame and in `frame` along the tracks, and the places' height in it, 0 … 1."""
    height, width = frames.shape[-2:]
    shown = tracks.visible[0] & tracks.visible[frame]
    if shown.sum() >= FEWEST_POINTS:
        first, now = tracks.xy[0, shown], tracks.xy[frame, shown]
    else:
        first = now = np.stack(np.meshgrid(np.arange(2, width, 8), np.arange(2, height, 8)), -1).reshape(-1, 2)
    smooth = avg_pool2d(frames[[0, frame]], 3, 1, 1, count_include_pad=False).permute(0, 2, 3, 1).double().numpy()
    cells = [np.clip(place.astype(int), 0, (width - 1, height - 1)) for place in (first, now)]
    before, after = (image[cell[:, 1], cell[:, 0]] for image, cell in zip(smooth, cells, strict=True))
    return before, after, cells[1][:, 1] / height


def _texture(frames: Tensor, frame: int) -> dict[str, float]:
    """Fine detail of this frame against the first's."""
    light = _light(frames[[0, frame]])
    across, down = light.diff(dim=-1).abs().mean((1, 2)), light.diff(dim=-2).abs().mean((1, 2))
    above = light - avg_pool2d(light[:, None], 7, 1, 3, count_include_pad=False)[:, 0]
    bright, dark = ((sign * above - DETAIL).relu().mean((1, 2)) for sign in (1, -1))
    return {
        "across": _log_ratio(across[1], across[0]),
        "down": _log_ratio(down[1], down[0]),
        "bright_detail": float(bright[1] - bright[0]),
        "dark_detail": float(dark[1] - dark[0]),
        "detail_level": float(torch.log(across[1] + down[1] + TINY)),
    }


def _flicker(late: Tensor, early: Tensor) -> dict[str, float]:
    """What is in one frame but neither in the one before nor after: flakes, streaks, grain."""
    (up, down, across, along, pulse), (up_early, down_early, *_) = (_moments(part) for part in (late, early))
    return {
        "flashes": float(torch.log(up + TINY)),
        "flashes_grown": _log_ratio(up, up_early),
        "gaps": float(torch.log(down + TINY)),
        "gaps_grown": _log_ratio(down, down_early),
        "flashes_over_gaps": _log_ratio(up, down),
        "streaks": _log_ratio(across, along),
        "pulse": float(torch.log(pulse + TINY / 10)),
    }


def _moments(frames: Tensor) -> tuple[Tensor, ...]:
    light = _light(frames)
    middle = torch.stack([light[:-2], light[1:-1], light[2:]]).median(0).values
    alone = light[1:-1] - middle
    pulse = light.mean((1, 2)).diff(n=2).abs().mean()
    return (
        alone.relu().mean(),
        (-alone).relu().mean(),
        alone.diff(dim=-1).abs().mean(),
        alone.diff(dim=-2).abs().mean(),
        pulse,
    )


def _log_ratio(over: Tensor, under: Tensor) -> float:
    return float(torch.log((over + TINY) / (under + TINY)))


@dataclass(frozen=True)
class Probe:
    """names: (K,) of the features. classes: (C,). mean, scale: (K,). weight (K, C), bias (C,): all float64."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, clips: Sequence[Features], labels: Sequence[str]) -> Probe:
        """Fitted on M clips. Raises ValueError when there are none, or only one class."""
        classes = tuple(dict.fromkeys(labels))
        if len(clips) != len(labels) or len(classes) < 2:
            raise ValueError(f"{len(clips)} clips with {len(labels)} labels: send one each, of two classes or more")
        names = tuple(clips[0])
        raw = _matrix(clips, names)
        mean, scale = raw.mean(0), raw.std(0).clamp(min=1e-6)
        inputs = (raw - mean) / scale
        target = torch.tensor([classes.index(label) for label in labels])
        weight = torch.zeros(len(names), len(classes), dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(len(classes), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value: Tensor = cross_entropy(inputs @ weight + bias, target) + DECAY * weight.square().sum()
            value.backward()
            return value

        optimiser.step(loss)
        return cls(names, classes, mean, scale, weight.detach(), bias.detach())

    def names_of(self, clips: Sequence[Features]) -> list[str]:
        """The class of each clip."""
        if not clips:
            return []
        scores = (_matrix(clips, self.names) - self.mean) / self.scale @ self.weight + self.bias
        return [self.classes[index] for index in scores.argmax(1).tolist()]


def _matrix(clips: Sequence[Features], names: Sequence[str]) -> Tensor:
    return torch.tensor([[clip[name] for name in names] for clip in clips], dtype=torch.float64)
