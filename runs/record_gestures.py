"""Records gestures on photographs that no model was trained on: the real studio, a real browser, a real pointer.

    .venv/bin/python runs/record_gestures.py --photos pictures/demo --out docs/gestures

Starts `motionstream demo`, uploads each photograph, takes hold of what is in it, says the words, and keeps what the
studio downloads: one .jsonl a take, which `motionstream generate --gestures` plays again on any model. Then plays each
so, and draws a sheet of all (sheet.jpg: the photograph, then six moments with the points that steer). Needs `make
setup` and Chromium.
"""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from playwright.async_api import Page
from record_studio import program, studio
from studio_script import Curve, Hand, Place, arc, round_trip

import motionstream
from motionstream import console
from motionstream.evaluate import machine
from motionstream.stream.offline import replay
from motionstream.stream.video import read_image
from motionstream.tracks.preview import marked
from motionstream.tracks.record import Recording

MOMENTS = 6


@dataclass(frozen=True)
class Take:
    """picture: file name without ending. prompt: at the start. pins: put down first. drags: (curve, seconds) one after
    another. words: said before the last drag."""

    name: str
    picture: str
    prompt: str
    drags: Sequence[tuple[Curve, float]]
    pins: Sequence[Place] = ()
    words: str = ""


def zigzag(home: Place, width: float, turns: int) -> Curve:
    """To and fro across the frame, faster than anything in it moves."""
    return lambda u: (home[0] + width * float(np.sin(2 * np.pi * turns * u)), home[1] - 0.1 * u)


TAKES = (
    Take("kitten_looks_round", "kitten", "a kitten on a bench", [(round_trip((0.50, 0.42), (0.08, 0.04)), 4)]),
    Take(
        "moose_turns_its_head",
        "moose",
        "a moose in a field",
        [(arc((0.50, 0.42), (0.10, 0.02), 0.06), 2.5), (arc((0.60, 0.44), (-0.16, -0.02), 0.05), 2.5)],
        pins=[(0.36, 0.85), (0.60, 0.85)],
    ),
    Take("pika_in_the_snow", "pika", "a pika, it is snowing", [(round_trip((0.63, 0.38), (0.06, 0.04)), 4)]),
    Take("horse_steps_aside", "horses", "horses in a meadow", [(arc((0.75, 0.46), (0.12, 0.03), 0.0), 3)]),
    Take(
        "cheetah_at_dusk",
        "cheetah",
        "a cheetah in tall grass",
        [(arc((0.80, 0.20), (-0.12, 0.04), 0.03), 2.5), (arc((0.68, 0.24), (0.12, -0.04), 0.03), 2.5)],
        pins=[(0.82, 0.75)],
        words="a cheetah in tall grass, dusk falls",
    ),
    Take(
        "toucan_in_the_rain",
        "toucan",
        "a toucan on a branch, it is raining",
        [(round_trip((0.24, 0.24), (0.05, 0.05)), 4)],
        pins=[(0.45, 0.72), (0.70, 0.78)],
    ),
    Take(
        "gosling_at_sunset",
        "gosling",
        "a gosling in the grass",
        [(arc((0.49, 0.22), (0.10, 0.05), 0.05), 2.5), (arc((0.59, 0.27), (-0.16, -0.04), 0.03), 2.5)],
        words="a gosling in the grass at sunset",
    ),
    Take("swan_swims_on", "swans", "swans on a lake", [(arc((0.79, 0.50), (-0.22, 0.0), 0.0), 4)]),
    Take("wild_hand", "kitten", "a kitten on a bench", [(zigzag((0.50, 0.42), 0.42, 5), 3)]),
    Take(
        "moose_on_old_film",
        "moose",
        "a moose in a field, old grainy film",
        [(round_trip((0.52, 0.40), (0.07, -0.05)), 4)],
        words="a moose in a field, black-and-white film",
    ),
)


async def played(page: Page, hand: Hand, take: Take, photo: Path, out: Path) -> None:
    """One take in the studio, downloaded."""
    await page.fill("#prompt", take.prompt)
    already = await page.locator("#gallery button").count()
    await page.set_input_files("#upload-file", photo)
    await page.locator(f"#gallery button >> nth={already}").wait_for()
    await asyncio.sleep(1.0)  # the scene opens on it
    await hand.click("#begin")
    await hand.reached("running")
    await asyncio.sleep(0.6)
    if take.pins:
        await hand.click('.segmented [data-tool="pin"]')
        for place in take.pins:
            await hand.press_at(place)
    await hand.click('.segmented [data-tool="drag"]')
    for index, (curve, seconds) in enumerate(take.drags):
        if take.words and index == len(take.drags) - 1:
            await page.fill("#prompt", take.words)
            await page.press("#prompt", "Enter")
        await hand.drag(curve, seconds)
    await asyncio.sleep(0.8)
    await hand.click("#play")
    await hand.reached("paused")
    async with page.expect_download() as begun:
        await page.click("#save-gestures")
    await (await begun.value).save_as(out / f"{take.name}.jsonl")
    await page.click("#stop")
    await page.wait_for_selector('body[data-state="ready"]', timeout=15_000)


async def record(address: str, photos: Path, out: Path) -> None:
    async with studio(address) as page:
        hand = Hand(page, 1.0)
        with console.progress("takes", len(TAKES)) as bar:
            for take in bar.over(TAKES):
                await played(page, hand, take, photos / f"{take.picture}.jpg", out)


def strip(model: motionstream.StreamingModel, take: Take, photo: Path, recorded: Path) -> np.ndarray:
    """The photograph, then moments of the recording played again, with its points on them, side by side."""
    recording, stream = Recording.load(recorded), model.open(read_image(photo), take.prompt)
    parts = [marked(*part) for part in replay(stream, recording.on(model.size), recording.frames)]
    frames = np.concatenate(parts)
    chosen = np.linspace(0, len(frames) - 1, MOMENTS + 1).round().astype(int)
    return np.concatenate(list(frames[chosen]), 1)


def main(
    photos: Annotated[Path, typer.Option(help="Folder with the photographs and their manifest.csv.")],
    out: Annotated[Path, typer.Option(help="Where the takes and the sheet go.")] = Path("docs/gestures"),
    model: Annotated[str, typer.Option(help="A zoo name or a folder of weights.")] = "tiny",
    again: Annotated[bool, typer.Option(help="Record them again, instead of playing those that are there.")] = True,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if again:
        with program(model) as address:
            asyncio.run(record(address, photos, out))
    loaded = motionstream.load(model)
    with console.progress("played again", len(TAKES)) as bar:
        strips = [
            strip(loaded, take, photos / f"{take.picture}.jpg", out / f"{take.name}.jsonl") for take in bar.over(TAKES)
        ]
    Image.fromarray(np.concatenate(strips)).save(out / "sheet.jpg", quality=85)
    with (photos / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = {Path(row["file"]).stem: row for row in csv.DictReader(file)}
    credits = [
        {"take": take.name, "picture": take.picture, **{key: rows[take.picture][key] for key in ("author", "licence")}}
        for take in TAKES
    ]
    made = {"model": model, "model_hash": loaded.hash, "date": machine.today(), "machine": machine.describe()}
    text = json.dumps({**made, "takes": credits}, indent=1, ensure_ascii=False)
    (out / "sheet.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
