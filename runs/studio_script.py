"""What the hand does in the README's moving picture, second by second, and the pointer that shows it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from playwright.async_api import Page

VIEWPORT = (1240, 750)
"""Pixels of the page: as narrow as its full layout goes, so that its words can be read when it is made smaller."""
SCRIPT_SECONDS = 60.0
POINTER_STEPS_A_SECOND = 60

Place = tuple[float, float]
"""x and y in shares of the video's frame."""
Curve = Callable[[float], Place]
"""0…1 → where the hand is."""


@dataclass(frozen=True)
class Subject:
    """What the script takes hold of in a picture of the gallery."""

    head: Place
    body: Place
    still: tuple[Place, Place]


SUBJECTS = {
    "kingfisher": Subject(head=(0.46, 0.20), body=(0.41, 0.46), still=((0.45, 0.74), (0.78, 0.74))),
    "red_panda": Subject(head=(0.46, 0.52), body=(0.72, 0.62), still=((0.14, 0.66), (0.62, 0.88))),
    "crab": Subject(head=(0.50, 0.36), body=(0.50, 0.44), still=((0.36, 0.62), (0.66, 0.62))),
}

CURSOR = """
addEventListener("DOMContentLoaded", () => {
  const holder = document.createElement("div");
  holder.innerHTML = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32">
    <circle cx="7" cy="6" r="0" fill="none" stroke="#fff" stroke-width="2" opacity="0.9"/>
    <path d="M7 6v19l5-4.500 3.200 7.300 3.300-1.400-3.200-7.200h6.700z" fill="#fff" stroke="#111" stroke-width="1.5"/>
  </svg>`;
  Object.assign(holder.style, { position: "fixed", left: "-7px", top: "-6px", zIndex: 1000, pointerEvents: "none" });
  const svg = holder.firstChild;
  Object.assign(svg.style, { width: "32px", height: "32px", overflow: "visible" });
  const ring = svg.querySelector("circle");
  document.body.append(holder);
  const follow = ({ clientX, clientY }) => { holder.style.transform = `translate(${clientX}px, ${clientY}px)`; };
  addEventListener("pointermove", follow, true);
  addEventListener("pointerdown", (event) => { follow(event); ring.setAttribute("r", "11"); }, true);
  addEventListener("pointerup", () => ring.setAttribute("r", "0"), true);
});
"""
"""A pointer drawn in the page, with a ring while it is pressed: a headless browser shows none of its own."""


# --- the hand ---------------------------------------------------------------------------------------------------------


def eased(part: float) -> float:
    """0…1 → 0…1 as a hand does it: from rest to rest (least jerk)."""
    return part**3 * (10 - 15 * part + 6 * part**2)


def round_trip(home: Place, reach: Place) -> Curve:
    """A figure of eight from a place back to it."""
    return lambda u: (
        home[0] + reach[0] * math.sin(2 * math.pi * u),
        home[1] + reach[1] * math.sin(4 * math.pi * u),
    )


def arc(home: Place, away: Place, rise: float) -> Curve:
    """From a place to another by a bow."""
    return lambda u: (
        home[0] + away[0] * u,
        home[1] + away[1] * u - rise * math.sin(math.pi * u),
    )


@dataclass
class Hand:
    """A pointer on the page, in the time of the script. pace: real seconds of one second of the script."""

    page: Page
    pace: float
    began: float = field(default_factory=time.monotonic)
    spot: Place = (VIEWPORT[0] * 0.62, VIEWPORT[1] * 0.94)

    async def until(self, cue: float) -> None:
        """Rest until this second of the script."""
        await asyncio.sleep(max(0.0, self.began + cue * self.pace - time.monotonic()))

    async def to(self, spot: Place) -> None:
        self.spot = spot
        await self.page.mouse.move(*spot)

    async def follow(self, curve: Curve, seconds: float) -> None:
        """Move along a curve in pixels of the page, in so many seconds of the script whatever the machine does."""
        begin, length = time.monotonic(), seconds * self.pace
        while (part := (time.monotonic() - begin) / length) < 1:
            await self.to(curve(eased(part)))
            await asyncio.sleep(1 / POINTER_STEPS_A_SECOND)
        await self.to(curve(1.0))

    async def glide(self, target: Place, seconds: float = 0.8) -> None:
        here = self.spot
        await self.follow(arc(here, (target[0] - here[0], target[1] - here[1]), 0.0), seconds)

    async def click(self, selector: str) -> None:
        await self.page.locator(selector).scroll_into_view_if_needed()
        box = await self._box(selector)
        await self.glide((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
        await self.press_here()

    async def press_here(self) -> None:
        await asyncio.sleep(0.12 * self.pace)
        await self.page.mouse.down()
        await asyncio.sleep(0.1 * self.pace)
        await self.page.mouse.up()

    async def press_at(self, place: Place) -> None:
        await self.glide((await self._on_frame(lambda _: place))(0))
        await self.press_here()

    async def drag(self, curve: Curve, seconds: float, hold: float = 0.5) -> None:
        """Take hold at the start of a curve on the video's frame, follow it, rest, let go."""
        on_page = await self._on_frame(curve)
        await self.glide(on_page(0))
        await self.page.mouse.down()
        await asyncio.sleep(0.3 * self.pace)
        await self.follow(on_page, seconds)
        await asyncio.sleep(hold * self.pace)
        await self.page.mouse.up()

    async def _on_frame(self, curve: Curve) -> Curve:
        box = await self._box("#overlay")

        def on_page(u: float) -> Place:
            x, y = curve(u)
            return box["x"] + x * box["width"], box["y"] + y * box["height"]

        return on_page

    async def _box(self, selector: str) -> dict[str, float]:
        box = await self.page.locator(selector).bounding_box()
        if box is None:
            raise SystemExit(f"{selector} is not on the page")
        return {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}

    async def reached(self, state: str) -> None:
        await self.page.wait_for_selector(f'body[data-state="{state}"]', timeout=15_000)


# --- the script -------------------------------------------------------------------------------------------------------


async def play(hand: Hand, picture: str) -> float:
    """The minute: choose, start, drag, pin, path, words, pause, plan, go on.

    Returns the moment to show in one picture, the subject in hand, as time.time() tells it.
    """
    subject = SUBJECTS[picture]
    other = next(name for name in SUBJECTS if name != picture)
    await hand.click(f'[data-picture="{other}"]')
    await hand.until(1.8)
    await hand.click(f'[data-picture="{picture}"]')
    await hand.page.wait_for_selector(f'[data-picture="{picture}"][aria-pressed="true"]')
    await hand.until(3.4)
    await hand.click("#begin")
    await hand.reached("running")

    await hand.until(6)
    taken = time.time()
    await hand.drag(round_trip(subject.head, (0.085, 0.05)), 8)  # with the green grid
    moment = taken + (time.time() - taken) * 0.4

    await hand.until(17)
    await hand.click('.segmented [data-tool="pin"]')
    for place in subject.still:
        await hand.press_at(place)
    await hand.until(21.5)
    await hand.click('.segmented [data-tool="drag"]')
    await hand.drag(round_trip(subject.body, (0.06, -0.04)), 5)

    await hand.until(30)
    await hand.click('.segmented [data-tool="path"]')
    await hand.drag(arc(subject.head, (0.15, 0.10), 0.12), 2.2)

    await hand.until(37.5)
    await hand.click("#chips button:has-text('Snow')")

    await hand.until(43)
    await hand.click('.segmented [data-tool="drag"]')
    await hand.click("#play")
    await hand.reached("paused")
    await hand.drag(arc(subject.head, (-0.12, 0.06), 0.08), 2.5)  # drawn while paused, it waits
    await hand.until(50.5)
    await hand.click("#play")
    await hand.reached("running")
    await hand.glide((VIEWPORT[0] * 0.62, VIEWPORT[1] * 0.94), 1.2)
    await hand.until(SCRIPT_SECONDS)
    return moment
