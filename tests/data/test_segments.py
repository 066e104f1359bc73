"""A piece of a photograph is one thing of it, and behind it the photograph goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motionstream.data.assets import AssetLibrary
from motionstream.data.layers import Layer
from motionstream.data.segments import MARGIN, cut_segment
from motionstream.data.synthetic import STILL, SyntheticWorlds, World

WINDOW = (32, 16, 224, 128)
MIDDLE, RADIUS = (110, 70), 20


def photograph(middle: tuple[int, int] = MIDDLE) -> tuple[Tensor, Tensor]:
    """(3, 144, 256): a red disc on a green lawn, lighter to the right; and where the disc is."""
    rng = np.random.default_rng(0)
    lawn = torch.tensor([0.2, 0.5, 0.2])[:, None, None] + 0.15 * torch.linspace(0, 1, 256)
    lawn = (lawn + 0.03 * torch.from_numpy(rng.normal(size=(3, 144, 256)).astype(np.float32))).clamp(0, 1)
    rows, columns = torch.meshgrid(torch.arange(144), torch.arange(256), indexing="ij")
    disc = (rows - middle[1]) ** 2 + (columns - middle[0]) ** 2 < RADIUS**2
    red = lawn * torch.tensor([0.3, 0.2, 0.3])[:, None, None] + torch.tensor([0.7, 0.0, 0.0])[:, None, None]
    return torch.where(disc, red, lawn), disc


def pieces(ground: Tensor, count: int = 20) -> list[tuple[Tensor, np.ndarray, Tensor]]:
    found = [cut_segment(ground, WINDOW, np.random.default_rng(seed)) for seed in range(count)]
    return [(one.texture, one.centre, one.ground) for one in found if one is not None]


@pytest.fixture(scope="module")
def found() -> list[tuple[Tensor, np.ndarray, Tensor]]:
    return pieces(photograph()[0])


def laid(texture: Tensor, centre: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(4, h, w): the piece at its own place."""
    height, width = size
    left, top = (
        int(side / 2 + at - own / 2)
        for side, at, own in zip((width, height), centre, texture.shape[:0:-1], strict=True)
    )
    whole = torch.zeros(4, height, width)
    whole[:, top : top + texture.shape[1], left : left + texture.shape[2]] = texture
    return whole


def test_the_disc_is_found_and_the_lawn_closes_behind_it(found: list[tuple[Tensor, np.ndarray, Tensor]]) -> None:
    ground, disc = photograph()
    shares = []
    for texture, centre, closed in found:
        mask = laid(texture, centre, (144, 256))[3]
        if torch.median(texture[0][texture[3] > 0.9]) < 0.6:
            continue  # a stretch of the lawn
        shares.append(float(torch.minimum(mask, disc.float()).sum() / torch.maximum(mask, disc.float()).sum()))
        assert closed[0][disc].mean() < ground[0][~disc].mean() + 0.1, "no red is left"
        near = ground[1, 40:100, 60:160][~disc[40:100, 60:160]]
        assert abs(float(closed[1][disc].mean() - near.mean())) < 0.05
        assert 0.5 < float(closed[1][disc].std() / near.std()) < 1.5, "grass, not a blur"
    assert len(shares) > 5
    assert np.median(shares) > 0.85


def test_laid_back_it_is_the_photograph(found: list[tuple[Tensor, np.ndarray, Tensor]]) -> None:
    ground, _ = photograph()
    for texture, centre, closed in found[:5]:
        whole = laid(texture, centre, (144, 256))
        again = closed * (1 - whole[3]) + whole[:3]
        far = torch.nn.functional.max_pool2d(whole[3:][None], 2 * MARGIN + 7, 1, MARGIN + 3)[0, 0] == 0
        inside = whole[3] == 1
        torch.testing.assert_close(again[:, inside], ground[:, inside])
        torch.testing.assert_close(again[:, far], ground[:, far])
        assert (texture[:3] <= texture[3:]).all()


def test_what_goes_on_beyond_the_window_stays() -> None:
    ground, _ = photograph(middle=(224, 70))
    assert all(float(texture[0][texture[3] > 0.9].median()) < 0.6 for texture, _, _ in pieces(ground, 10))
    even = torch.full((3, 144, 256), 0.5)
    assert not pieces(even, 3), "nothing is told from anything"


def test_the_same_again(found: list[tuple[Tensor, np.ndarray, Tensor]]) -> None:
    again = pieces(photograph()[0], 5)
    assert again
    for one, other in zip(again, found, strict=False):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[2], other[2])


@pytest.fixture(scope="module")
def with_pieces() -> list[tuple[World, Layer]]:
    library = AssetLibrary(Path(__file__).parent / "assets")
    worlds = [SyntheticWorlds(library, (160, 96), 9, variety=1.0, effects=False).world(index) for index in range(80)]
    return [(world, layer) for world in worlds for layer in world.layers[1:2] if is_piece(world, layer)]


def is_piece(world: World, layer: Layer) -> bool:
    """Whether it is where the ground is at first, at the ground's own scale."""
    ground = world.layers[0].placement.matrix[0, :, :2]
    return layer.solid and torch.allclose(layer.placement.matrix[0, :, :2], ground) and world.plot != STILL


def test_worlds_lift_pieces_that_move(with_pieces: list[tuple[World, Layer]]) -> None:
    assert len(with_pieces) >= 5
    for world, piece in with_pieces:
        own, ground = (layer.placement.matrix[:, :, 2] for layer in (piece, world.layers[0]))
        moved = own - own[:1] - (ground - ground[:1])
        assert moved.norm(dim=-1).max() > 1
