"""The recorder of the README's moving picture: true to time, small enough, and its script plays to the end.

The model is the fake one; what is tested is the film of the page.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.serve.fake_model import FakeModel
from tests.serve.harness import running

from motionstream import serve
from motionstream.serve import Limits

pytest.importorskip("playwright.async_api", reason="the studio is recorded with Playwright: make setup")
sys.path.insert(0, str(Path(__file__).parents[2] / "runs"))

import record_studio
import studio_script

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
no_browser = pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="Chromium is not installed")


def test_each_frame_shows_what_was_on_display_then() -> None:
    times = [9.0, 10.02, 10.11, 10.49, 11.5]
    assert record_studio.resampled(times, begin=10.0, seconds=0.6, fps=10) == [0, 1, 2, 2, 2, 3]
    assert record_studio.resampled(times, begin=10.0, seconds=3, fps=1) == [0, 3, 4]


def test_the_pointer_goes_from_rest_to_rest() -> None:
    parts = [studio_script.eased(i / 100) for i in range(101)]
    steps = np.diff(parts)
    assert (parts[0], parts[-1]) == (0, 1)
    assert (steps > 0).all()
    assert steps[0] < 0.001
    assert steps[-1] < 0.001


def test_the_subjects_are_in_the_gallery_and_may_be_shown() -> None:
    manifest = Path(serve.__file__).parent / "web" / "gallery" / "manifest.json"
    licences = {one["id"]: one["licence"] for one in json.loads(manifest.read_text())["pictures"]}
    assert {licences[name] for name in studio_script.SUBJECTS} <= {"CC0-1.0", "public-domain"}


def grey(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (level, level, level)).save(file, "JPEG")
    return file.getvalue()


def noisy_film(seconds: float) -> record_studio.Film:
    shots = []
    for index in range(round(seconds * 10)):
        file = io.BytesIO()
        pixels = np.random.default_rng(index).integers(0, 256, (120, 160, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG")
        shots.append((100 + index / 10, file.getvalue()))
    return record_studio.Film(shots, 100.0, seconds, 100.0, [], [])


def test_what_stands_still_is_one_long_frame() -> None:
    film = record_studio.Film([(100.0, grey(30)), (100.5, grey(120)), (101.7, grey(220))], 100.0, 2.0, 100.6, [], [])
    with Image.open(io.BytesIO(record_studio.encode(film, fps=10, quality=80, width=32))) as made:
        assert (made.size, made.n_frames, made.info["loop"]) == ((32, 24), 3, 0)  # type: ignore[attr-defined]
        durations, levels = [], []
        for frame in range(3):
            made.seek(frame)
            durations.append(made.load() and made.info["duration"])
            levels.append(round(float(np.asarray(made.convert("L")).mean())))
    assert np.asarray(record_studio.poster(film, 32)).mean() == pytest.approx(120, abs=6)
    assert durations == [500, 1200, 300]
    assert levels == pytest.approx([30, 120, 220], abs=6)


def test_it_is_made_coarser_until_it_is_small_enough() -> None:
    film = noisy_film(1.0)
    best, how = record_studio.smallest_loss(film, 160, 10**9)
    assert (how["fps"], how["quality"], how["bytes"]) == (*record_studio.QUALITIES[0], len(best))
    smaller, how = record_studio.smallest_loss(film, 160, len(best) - 1)
    assert how["bytes"] == len(smaller) < len(best)
    assert (how["fps"], how["quality"]) in record_studio.QUALITIES[1:]
    with pytest.raises(SystemExit, match="fewer --seconds"):
        record_studio.smallest_loss(film, 160, 100)


def green(picture: Image.Image) -> int:
    """Pixels in the colour of the drag tool."""
    off = np.abs(np.asarray(picture, np.int16) - np.array([0x5F, 0xE3, 0xA5])).sum(-1)
    return int((off < 60).sum())


@no_browser
def test_the_script_plays_to_its_end_and_is_filmed() -> None:
    picture = "crab"  # further down than the page shows
    with running(FakeModel(step_seconds=0.05), Limits()) as server:
        film = asyncio.run(record_studio.film(server.origin, 12, picture))
    assert {"running", "paused"} <= {one["state"] for one in film.seen}
    assert picture in film.pictures
    assert film.begin < film.moment < film.begin + film.seconds
    assert green(record_studio.poster(film, 1240)) > green(record_studio.still(film.shots[0][1], 1240)) + 50
    assert len(film.shots) > 40, "the page changed all the time"
    stills = [np.asarray(record_studio.still(shot, 320), np.int16) for _, shot in film.shots]
    assert sum(bool((np.abs(a - b).max(-1) > 40).any()) for a, b in pairwise(stills)) > 20


@no_browser
def test_the_tools_fit_the_page_at_the_width_that_is_filmed() -> None:
    async def overflow(address: str) -> int:
        async with record_studio.studio(address) as page:
            await page.click('.segmented [data-tool="path"]')
            return int(await page.evaluate("document.querySelector('.tools').scrollWidth - innerWidth"))

    with running(FakeModel(step_seconds=0.05), Limits()) as server:
        assert asyncio.run(overflow(server.origin)) < 0
