"""Gesture events as messages of the live protocol, which the server's own parser accepts."""

from __future__ import annotations

import json

import pytest

from motionstream.client.gestures import GestureMessages
from motionstream.evaluate.live.session import recorded_session
from motionstream.serve import Limits
from motionstream.serve.protocol import parse
from motionstream.tracks.events import GridDown, Move, Pause, Unpin


@pytest.mark.parametrize("size", [(256, 144), (832, 480), (48, 32)])
def test_a_whole_session_is_translated_into_valid_messages(size: tuple[int, int]) -> None:
    events = recorded_session().on(size).events
    messages = [message for _, message in GestureMessages(size).of(events, at=1.5)]
    for seq, message in enumerate(messages):
        parse(json.dumps({**message, "seq": seq}), Limits())
    assert {"down", "move", "up", "pin", "remove", "path", "prompt"} == {message["type"] for message in messages}
    assert sum(len(events) for events, _ in GestureMessages(size).of(events, at=0)) == len(events)


def test_moves_of_one_drag_share_a_message_and_every_gesture_has_its_own_number() -> None:
    messages = GestureMessages((100, 50))
    events = [GridDown("a", 50, 25, spacing=10, size=30), *(Move("a", 50 + i, 25) for i in range(70))]
    (_, down), (first, move), (second, _) = messages.of(events, at=2.0)
    assert (down["x"], down["y"], down["grid"]) == (0.5, 0.5, {"size": 0.3, "spacing": 0.1, "falloff": 0.0})
    assert (len(first), len(second)) == (64, 6)
    assert move["samples"][3] == {"x": 0.53, "y": 0.5, "at": 2.0}
    ((_, again),) = messages.of([GridDown("a", 500, 25)], at=2.0)
    assert again["gesture"] != down["gesture"]
    assert again["x"] == 1.5, "as far out as the protocol goes"
    with pytest.raises(ValueError, match="no pauses"):
        messages.of([Pause()], at=0)
    with pytest.raises(KeyError):
        messages.of([Unpin("never begun")], at=0)
