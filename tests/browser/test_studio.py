"""The studio in a real browser: what is grabbed moves with the pointer, and every control does its work.

The model is the fake one that draws each grabbed patch where its points are, so that pixels can be checked exactly.
Comparisons are made on the canvas that the viewer sees, each against a control that must differ.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.serve.fake_model import FakeModel
from tests.serve.harness import Running, running, wait_for

from motionstream.serve import Limits

playwright = pytest.importorskip("playwright.sync_api", reason="the studio is tested with Playwright: make setup")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
MISSING = "Chromium is not installed (Debian: apt-get install chromium)"
KEEP_SOCKETS = """
    window.sockets = [];
    window.WebSocket = class extends WebSocket { constructor(...all) { super(...all); sockets.push(this); } };
"""
PATCH = 0.03  # half side of a compared patch, in widths of the frame

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
if CHROMIUM is None and os.environ.get("CI") != "true":
    pytestmark.append(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    assert CHROMIUM, MISSING
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(FakeModel(step_seconds=0.05), Limits()) as server:
        yield server


class Page:
    """The studio as someone uses it."""

    def __init__(self, page: playwright.Page, server: Running) -> None:
        self.page, self.server = page, server
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.add_init_script(KEEP_SOCKETS)
        page.goto(server.origin)
        self.until("ready")

    def until(self, state: str) -> None:
        self.page.wait_for_selector(f'body[data-state="{state}"]', timeout=15_000)

    def choose(self, picture: str) -> None:
        self.page.click(f'[data-picture="{picture}"]')
        self.page.wait_for_selector(f'[data-picture="{picture}"][aria-pressed="true"]')
        self.until("ready")

    def start(self) -> None:
        self.page.keyboard.press("Enter")
        self.until("running")
        self.frames(12)

    @property
    def frame(self) -> int:
        text = self.page.text_content("#stat-frame") or ""
        return int(text) if text.isdigit() else 0

    def frames(self, count: int) -> None:
        """Wait until so many more frames were shown."""
        self.page.wait_for_function(
            "target => Number(document.getElementById('stat-frame').textContent) >= target",
            arg=self.frame + count,
            timeout=30_000,
        )

    def at(self, x: float, y: float) -> tuple[float, float]:
        box = self.page.locator("#overlay").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def press(self, x: float, y: float) -> None:
        self.page.mouse.move(*self.at(x, y))
        self.page.mouse.down()

    def move(self, start: tuple[float, float], end: tuple[float, float], seconds: float = 0.6) -> None:
        steps = max(2, round(seconds * 30))
        for i in range(1, steps + 1):
            part = i / steps
            self.page.mouse.move(*self.at(start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part))
            self.page.wait_for_timeout(seconds * 1000 / steps)

    def patch(self, x: float, y: float) -> np.ndarray:
        """Pixels of the video (without the overlay) round a place, (16, 16, 3)."""
        script = """([x, y, half]) => {
            const video = document.getElementById('video');
            const small = new OffscreenCanvas(16, 16).getContext('2d');
            const reach = half * video.width;
            const [left, top] = [x * video.width - reach, y * video.height - reach];
            small.drawImage(video, left, top, 2 * reach, 2 * reach, 0, 0, 16, 16);
            return Array.from(small.getImageData(0, 0, 16, 16).data);
        }"""
        data = self.page.evaluate(script, [x, y, PATCH])
        return np.array(data, np.float64).reshape(16, 16, 4)[..., :3]

    def closest(self, at: tuple[float, float], wanted: np.ndarray, seconds: float = 5) -> float:
        """The least difference of the patch at a place from the wanted one, over some time or until it is small."""
        least = math.inf
        for _ in range(round(seconds / 0.06)):
            least = min(least, difference(self.patch(*at), wanted))
            if least < 12:
                break
            self.page.wait_for_timeout(60)
        return least

    def counts(self, colour: str) -> int:
        """Pixels of the overlay in a tool's colour."""
        script = """([r, g, b]) => {
            const canvas = document.getElementById('overlay');
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                const off = Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b);
                if (data[i + 3] > 200 && off < 40) count += 1;
            }
            return count;
        }"""
        return int(self.page.evaluate(script, [int(colour[i : i + 2], 16) for i in (1, 3, 5)]))


GREEN, RED, BLUE = "#5fe3a5", "#ff7a7a", "#6fb0ff"


def place(column: int, row: int) -> tuple[float, float]:
    """The centre of a pixel of the model's frame, as shares of it."""
    return (column + 0.5) / 256, (row + 0.5) / 144


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


@pytest.fixture
def studio(browser: playwright.Browser, server: Running) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 760}, accept_downloads=True)
    page = Page(context.new_page(), server)
    yield page
    context.close()
    assert page.problems == []
    wait_for(lambda: server.studio.viewers == 0)


def test_what_is_grabbed_moves_with_the_pointer(studio: Page) -> None:
    studio.choose("crab")
    studio.start()
    grab, target = place(128, 60), place(169, 79)
    grabbed, there_before = studio.patch(*grab), studio.patch(*target)
    assert difference(grabbed, there_before) > 25, "the test needs two places that look different"
    studio.press(*grab)
    studio.move(grab, target)
    assert studio.counts(GREEN) > 50
    studio.frames(30)
    there_after = studio.patch(*target)
    assert difference(there_after, grabbed) < 12
    assert difference(there_after, there_before) > 25
    assert difference(studio.patch(0.1, 0.1), there_after) > 15, "a place that nothing was moved to"
    assert studio.page.text_content("#stat-latency").endswith("ms")
    assert int(studio.page.text_content("#stat-fps")) > 5
    studio.page.mouse.up()
    studio.frames(26)
    assert difference(studio.patch(*target), there_before) < 12, "released, the fake model puts things back"


def test_space_pauses_and_what_is_drawn_meanwhile_plays_afterwards(studio: Page) -> None:
    studio.choose("toucan")
    studio.start()
    studio.page.keyboard.press("Space")
    studio.until("paused")
    studio.page.wait_for_timeout(200)
    stood = studio.frame
    grab, target = place(26, 43), place(102, 108)
    grabbed, there_before = studio.patch(*grab), studio.patch(*target)
    assert difference(grabbed, there_before) > 25
    studio.press(*grab)
    studio.move(grab, target, 1.2)
    studio.page.wait_for_timeout(700)
    studio.page.mouse.up()
    assert studio.counts(BLUE) > 50, "drawn while paused, it waits as a path"
    studio.page.wait_for_timeout(500)
    assert studio.frame == stood
    studio.page.keyboard.press("Space")
    studio.until("running")
    assert studio.closest(target, grabbed) < 12, "the path carried the patch to its end"


def test_a_pin_is_red_reaches_the_model_and_goes_when_pressed_again(studio: Page) -> None:
    studio.start()
    studio.page.keyboard.press("p")
    studio.page.keyboard.press("g")  # show what the model is given
    studio.page.mouse.click(*studio.at(0.3, 0.5))
    studio.page.mouse.move(*studio.at(0.9, 0.9))
    pinned = studio.counts(RED)
    assert pinned > 50
    studio.page.mouse.click(*studio.at(0.3, 0.5))
    studio.page.wait_for_timeout(150)
    assert studio.counts(RED) < pinned
    studio.page.mouse.click(*studio.at(0.5, 0.5))
    studio.page.keyboard.press("Control+z")
    assert studio.page.locator(".toast.error").count() == 0


def test_a_path_plays_with_its_own_timing_and_ends(studio: Page) -> None:
    studio.choose("crab")
    studio.start()
    studio.page.keyboard.press("l")
    grab, end = place(128, 60), place(192, 29)
    grabbed, there_before = studio.patch(*grab), studio.patch(*end)
    studio.press(*grab)
    studio.move(grab, end, 1.0)
    studio.page.wait_for_timeout(700)
    assert difference(studio.patch(*end), there_before) < 12, "nothing moves while the path is being drawn"
    studio.page.mouse.up()
    assert studio.counts(BLUE) > 100
    assert studio.closest(end, grabbed) < 12
    studio.frames(40)
    assert difference(studio.patch(*end), there_before) < 12


def test_words_are_sent_on_enter_and_by_a_chip(studio: Page) -> None:
    studio.choose("moose")
    studio.start()
    plain = studio.patch(0.5, 0.2).mean()
    studio.page.fill("#prompt", "heavy snow")
    studio.page.keyboard.press("Enter")
    assert studio.page.evaluate("document.activeElement.id") != "prompt"
    studio.frames(30)
    assert studio.patch(0.5, 0.2).mean() > plain + 10
    studio.page.fill("#prompt", "")
    studio.page.keyboard.press("Enter")
    studio.frames(30)
    assert abs(studio.patch(0.5, 0.2).mean() - plain) < 5
    studio.page.click("#chips button:has-text('Snow')")
    studio.frames(30)
    assert studio.patch(0.5, 0.2).mean() > plain + 10


def test_recording_is_downloaded_as_mp4(studio: Page, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    studio.start()
    studio.page.click("#record")
    studio.page.wait_for_selector('#record[aria-pressed="true"]')
    studio.frames(30)
    studio.page.click("#record")
    studio.page.wait_for_selector("#take:not([hidden])")
    with studio.page.expect_download() as download:
        studio.page.click("#take-download")
    download.value.save_as(tmp_path / "take.mp4")
    with av.open(str(tmp_path / "take.mp4")) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    assert len(frames) >= 24
    assert frames[0].size == (256, 144)
    assert np.asarray(frames[0]).std() > 20


def test_gestures_are_downloaded_and_replayed(studio: Page, tmp_path: Path) -> None:
    studio.choose("crab")
    studio.start()
    grab, target = place(128, 60), place(169, 79)
    grabbed = studio.patch(*grab)
    studio.press(*grab)
    studio.move(grab, target)
    studio.frames(30)
    studio.page.mouse.up()
    with studio.page.expect_download() as download:
        studio.page.click("#save-gestures")
    download.value.save_as(tmp_path / "gestures.jsonl")
    studio.choose("swans")
    studio.page.set_input_files("#replay-file", tmp_path / "gestures.jsonl")
    studio.page.wait_for_selector('[data-picture="crab"][aria-pressed="true"]')
    studio.until("running")
    assert studio.closest(target, grabbed) < 12


def test_an_upload_is_opened_and_a_bad_one_is_told(studio: Page, tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), (20, 160, 60)).save(tmp_path / "green.png")
    (tmp_path / "notes.png").write_text("not a picture")
    studio.page.set_input_files("#upload-file", tmp_path / "notes.png")
    studio.page.wait_for_selector(".toast.error:has-text('PNG, JPEG or WebP')")
    studio.problems.clear()  # the browser notes the refusal on its console
    studio.page.set_input_files("#upload-file", tmp_path / "green.png")
    studio.page.wait_for_selector('.gallery li:first-child button[aria-pressed="true"]')
    studio.until("ready")
    studio.start()
    assert studio.patch(0.5, 0.5).mean(axis=(0, 1)) == pytest.approx([20, 160, 60], abs=6)


def test_enter_ends_and_starts_again_with_the_pins(studio: Page) -> None:
    studio.start()
    studio.page.keyboard.press("p")
    studio.page.mouse.click(*studio.at(0.3, 0.5))
    studio.frames(20)
    studio.page.keyboard.press("Enter")
    studio.until("ready")
    assert studio.counts(RED) > 50
    studio.start()
    assert studio.counts(RED) > 50
    assert studio.page.locator(".toast.error").count() == 0


def test_a_lost_connection_comes_back_by_itself(studio: Page) -> None:
    studio.start()
    studio.frames(30)
    studio.page.evaluate("sockets.at(-1).close()")
    studio.page.wait_for_selector(".toast.error:has-text('connection was lost')")
    studio.until("running")
    assert studio.frame < 30, "the session began again"
    studio.frames(20)
    assert studio.page.evaluate("sockets.length") == 2
