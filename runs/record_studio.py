"""Records the README's moving picture: the real program, a real browser, a real pointer, one scripted minute.

    .venv/bin/python runs/record_studio.py --model tiny --seconds 60 --out docs/media/studio.webp

Starts `motionstream demo`, plays studio_script.py in headless Chromium with pointer events, captures the page as it
was shown, in real time, and writes an animated WebP. Beside it: a poster (.png) and what was run (.json). Needs
`make setup`, and Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from playwright.async_api import CDPSession, Page, async_playwright
from studio_script import CURSOR, SCRIPT_SECONDS, SUBJECTS, VIEWPORT, Hand, play

from motionstream.evaluate import machine

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
CAPTURES_A_SECOND = 15
QUALITIES = ((10, 72), (10, 58), (10, 46), (8, 46), (8, 36), (6, 36), (6, 26))
"""(frames a second, WebP quality), the best first: the first that is small enough is kept."""
PROGRAM = "motionstream"


# --- the program ------------------------------------------------------------------------------------------------------


@contextmanager
def program(model: str) -> Iterator[str]:
    """`motionstream demo` while the block runs → its address, once the model is warm."""
    command = [sys.executable, "-m", PROGRAM, "demo", "--no-browser", "--port", "0", "--model", model]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # it says nothing before it answers, and then its address
        if not line:
            raise SystemExit(f"{' '.join(command[2:])} ended with exit code {process.wait()}")
        yield line.split(": ", 1)[1].strip()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- the capture ------------------------------------------------------------------------------------------------------


@dataclass
class Capture:
    """The page as Chromium shows it: JPEGs and when each appeared, in seconds of its clock."""

    session: CDPSession
    shots: list[tuple[float, bytes]] = field(default_factory=list)
    waiting: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self.session.on("Page.screencastFrame", self._take)
        await self.session.send("Page.startScreencast", {"format": "jpeg", "quality": 92, "everyNthFrame": 1})

    async def stop(self) -> None:
        self.session.remove_listener("Page.screencastFrame", self._take)
        await self.session.send("Page.stopScreencast")
        await asyncio.gather(*self.waiting)

    def _take(self, event: dict[str, Any]) -> None:
        self.shots.append((event["metadata"]["timestamp"], base64.b64decode(event["data"])))
        task = asyncio.ensure_future(self._allow_next(event["sessionId"]))
        self.waiting.add(task)
        task.add_done_callback(self.waiting.discard)

    async def _allow_next(self, session_id: int) -> None:
        """Chromium captures again once it is told to, so that capturing leaves the processor to the model."""
        await asyncio.sleep(1 / CAPTURES_A_SECOND)
        await self.session.send("Page.screencastFrameAck", {"sessionId": session_id})


def resampled(times: Sequence[float], begin: float, seconds: float, fps: float) -> list[int]:
    """For each frame of a film from `begin` on: the index of the shot that was on display then."""
    chosen, newest = [], 0
    for frame in range(round(seconds * fps)):
        while newest + 1 < len(times) and times[newest + 1] <= begin + frame / fps:
            newest += 1
        chosen.append(newest)
    return chosen


# --- the film --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Film:
    """What was captured. begin, and moment, which the poster shows: by the shots' clock. seen: what the page said of
    itself as it ran. pictures: those that can be seen in it."""

    shots: list[tuple[float, bytes]]
    begin: float
    seconds: float
    moment: float
    seen: list[dict[str, str]]
    pictures: list[str]


@asynccontextmanager
async def studio(address: str) -> AsyncIterator[Page]:
    """The studio in headless Chromium, ready to start. Ends the program if the page had an error."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is not installed (Debian: apt-get install chromium)")
    problems: list[str] = []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = await browser.new_page(viewport={"width": VIEWPORT[0], "height": VIEWPORT[1]})
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.add_init_script(CURSOR)
        await page.goto(address)
        await page.wait_for_selector('body[data-state="ready"]', timeout=30_000)
        yield page
        await browser.close()
    if problems:
        raise SystemExit(f"the studio had errors: {'; '.join(problems)}")


async def film(address: str, seconds: float, picture: str) -> Film:
    """Play the script in so many seconds and capture it."""
    seen: list[dict[str, str]] = []
    async with studio(address) as page:
        capture, hand = Capture(await page.context.new_cdp_session(page)), Hand(page, seconds / SCRIPT_SECONDS)
        await hand.to(hand.spot)
        await capture.start()
        await asyncio.sleep(0.5)  # the pointer is in its place before the film begins
        begin, hand.began = time.time(), time.monotonic()
        watching = asyncio.create_task(watch(page, seen))
        try:
            moment = await play(hand, picture)
            length = time.time() - begin  # more than was asked for, if the machine could not keep up
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await capture.stop()
        pictures = await page.evaluate(IN_VIEW)
    if problems := {one["error"] for one in seen if one["error"]}:
        raise SystemExit(f"the studio had errors: {'; '.join(problems)}")
    return Film(sorted(capture.shots), begin, length, moment, seen, pictures)


async def watch(page: Page, seen: list[dict[str, str]]) -> None:
    """Once a second, what the page tells its viewer."""
    script = """() => ({ state: document.body.dataset.state, fps: document.getElementById("stat-fps").textContent,
                         latency: document.getElementById("stat-latency").textContent,
                         error: document.querySelector(".toast.error")?.textContent ?? "" })"""
    while True:
        await asyncio.sleep(1)
        seen.append(await page.evaluate(script))


IN_VIEW = """() => [...document.querySelectorAll("[data-picture]")]
    .filter((one) => one.getBoundingClientRect().top < innerHeight).map((one) => one.dataset.picture)"""


# --- the files --------------------------------------------------------------------------------------------------------


def still(shot: bytes, width: int) -> Image.Image:
    """A capture as a picture of this width."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)


def encode(film: Film, fps: float, quality: int, width: int) -> bytes:
    """The film as an animated WebP that plays for ever. A shot that stays is one long frame."""
    chosen = resampled([at for at, _ in film.shots], film.begin, film.seconds, fps)
    lengths = {index: chosen.count(index) * 1000 / fps for index in dict.fromkeys(chosen)}
    first, *others = (still(film.shots[index][1], width) for index in lengths)
    durations = [round(length) for length in lengths.values()]
    file = io.BytesIO()
    first.save(
        file, "WEBP", save_all=True, append_images=others, duration=durations, loop=0,
        quality=quality, method=4, kmin=40, kmax=60,
    )  # fmt: skip
    return file.getvalue()


def smallest_loss(film: Film, width: int, most_bytes: int) -> tuple[bytes, dict[str, Any]]:
    """The best of QUALITIES that is small enough, and how it was made."""
    for fps, quality in QUALITIES:
        data = encode(film, fps, quality, width)
        typer.echo(f"{fps} fps, quality {quality}: {len(data) / 1e6:.2f} MB")
        if len(data) <= most_bytes:
            return data, {"fps": fps, "quality": quality, "width": width, "bytes": len(data)}
    raise SystemExit(
        f"no setting makes it {most_bytes / 1e6:g} MB or less: record fewer --seconds or a smaller --width"
    )


def poster(film: Film, width: int) -> Image.Image:
    (index,) = resampled([at for at, _ in film.shots], film.moment, seconds=1, fps=1)
    return still(film.shots[index][1], width)


def description(model: str, film: Film) -> dict[str, Any]:
    """What was run, on what, and when; the authors of the pictures that can be seen."""
    from motionstream import serve, zoo
    from motionstream.tiny.bundle import bundle_hash

    folder = Path(model) if Path(model).is_dir() else zoo.embedded(model)
    running = [one for one in film.seen if one["state"] == "running" and one["fps"].isdigit()]
    latencies = [int(one["latency"].removesuffix(" ms")) for one in running if one["latency"].endswith(" ms")]
    gallery = Path(serve.__file__).parent / "web" / "gallery" / "manifest.json"
    credits = json.loads(gallery.read_text(encoding="utf-8"))["pictures"]
    return {
        "model": model,
        "model_hash": bundle_hash(zoo.read_header(folder)),
        "seconds": round(film.seconds, 1),
        "captures": len(film.shots),
        "page_fps_median": statistics.median(int(one["fps"]) for one in running) if running else None,
        "page_latency_ms": latencies[-1] if latencies else None,
        "pictures": [
            {key: one[key] for key in ("title", "author", "licence")} for one in credits if one["id"] in film.pictures
        ],
        "machine": machine.describe(),
        "date": machine.today(),
    }


def main(
    model: Annotated[str, typer.Option(help="A zoo name or a folder of weights.")] = "tiny",
    seconds: Annotated[float, typer.Option(help="The script's minute is played in so long.", min=5)] = SCRIPT_SECONDS,
    out: Annotated[Path, typer.Option(help="The .webp; .png and .json come beside it.")] = Path("studio.webp"),
    picture: Annotated[str, typer.Option(help=f"One of {', '.join(SUBJECTS)}.")] = "kingfisher",
    width: Annotated[int, typer.Option(help="Pixels.", min=320, max=VIEWPORT[0])] = 800,
    megabytes: Annotated[float, typer.Option(help="At most so large.", min=0.1)] = 6.0,
) -> None:
    if picture not in SUBJECTS:
        raise typer.BadParameter(f"{picture!r}: the script knows {', '.join(SUBJECTS)}", param_hint="--picture")
    if out.suffix != ".webp":
        raise typer.BadParameter(f"{out}: write to a name that ends in .webp", param_hint="--out")
    with program(model) as address:
        made = asyncio.run(film(address, seconds, picture))
    out.parent.mkdir(parents=True, exist_ok=True)
    data, how = smallest_loss(made, width, round(megabytes * 1e6))
    out.write_bytes(data)
    poster(made, width).save(out.with_suffix(".png"))
    facts = json.dumps({**description(model, made), **how}, ensure_ascii=False)
    out.with_suffix(".json").write_text(facts + "\n", encoding="utf-8")
    typer.echo(f"{out}: {len(data) / 1e6:.2f} MB")


if __name__ == "__main__":
    typer.run(main)
