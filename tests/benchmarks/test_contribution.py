"""What the transformer contributes: none where it returns 0, some where it does not, and drags go where they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.small import GEOMETRY, small_model, small_vae
from tests.stream.small_bundle import open_small, photo, save_small, silent_model

from benchmarks.contribution import changed, drag, evaluate_contribution
from motionstream.stream.model import StreamingModel


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StreamingModel:
    return open_small(save_small(tmp_path_factory.mktemp("small"), chunk=1, sink=3, window=3))


def test_a_network_that_returns_nothing_contributes_nothing(model: StreamingModel) -> None:
    silent = silent_model(model)
    zero = evaluate_contribution(silent, [photo()], 9, 0)["drags"]
    own = evaluate_contribution(model, [photo()], 9, 0)["drags"]
    assert all(one["share_over_2"] == 0 for one in zero.values())
    assert all(one["share_over_0"] >= one["share_over_2"] > 0 for one in own.values())
    json.dumps(own, allow_nan=False)


def test_values_that_differ_are_counted_by_how_much() -> None:
    one = np.zeros((3, 2, 5, 3), np.uint8)
    other = one.copy()
    other[0] = 255  # the first frame is given
    other[1, 0, 0], other[2, 0, 0] = 3, 9
    found = changed(one, other)
    assert found == {"mean_levels": 0.6, "share_over_0": 0.1, "share_over_2": 0.1, "share_over_8": 0.05}


def test_a_hand_goes_as_far_as_it_says_and_rests() -> None:
    tracks = drag((256, 144), 9, 1 / 4)
    assert (tracks.frames, tracks.points, tracks.visible.all()) == (9, 9, True)
    np.testing.assert_allclose(tracks.xy[0].mean(0), [128, 72])
    np.testing.assert_allclose(tracks.xy[-1] - tracks.xy[0], [[64, 0]] * 9)
    np.testing.assert_array_equal(tracks.xy[4:], tracks.xy[4:5].repeat(5, 0))


def test_a_model_without_an_anchor_is_refused(model: StreamingModel) -> None:
    papers = StreamingModel("a", small_model(False), small_vae(), GEOMETRY, 24.0, model.rollout_config, "0")
    with pytest.raises(ValueError, match="a has no warped anchor"):
        evaluate_contribution(papers, [photo()], 9, 0)
