"""Whatever a viewer sends, the parser answers with a message or one typed error; docs and code name the same things."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionstream.serve import protocol
from motionstream.serve.errors import CLOSE_CODES, ErrorCode, ViewerError
from motionstream.serve.limits import Limits

LIMITS = Limits()
GRID = {"size": 0.1, "spacing": 0.02, "falloff": 0.0}
DOCS = Path(__file__).parents[2] / "docs" / "protocol.md"

VALID: list[dict[str, Any]] = [
    {"type": "hello", "protocol": 1, "token": None},
    {"type": "open", "source": "gallery", "picture": "crab", "prompt": "snow", "seed": 3},
    {"type": "replay", "replay": "abc"},
    *({"type": kind} for kind in ("start", "pause", "resume", "stop", "gestures")),
    {"type": "prompt", "text": "it snows"},
    {"type": "down", "gesture": 1, "x": 0.5, "y": 0.5, "at": 0.0, "grid": GRID},
    {"type": "move", "gesture": 1, "samples": [{"x": 0.5, "y": 0.5, "at": 1}]},
    {"type": "up", "gesture": 1, "at": 0.0},
    {"type": "pin", "gesture": 2, "x": 0, "y": 1, "at": 0.0, "grid": GRID},
    {
        "type": "path",
        "gesture": 3,
        "points": [{"x": 0, "y": 0, "t": 0}, {"x": 1, "y": 1, "t": 1}],
        "at": 0,
        "grid": GRID,
        "loop": True,
    },
    {"type": "remove", "gesture": 2, "at": 0.0},
    {"type": "clear", "at": 0.0},
    {"type": "ack", "chunk": 0, "buffered": 3},
    {"type": "record", "on": True},
]


def parse(message: dict[str, Any]) -> protocol.ClientMessage:
    return protocol.parse(json.dumps({"seq": 1, **message}), LIMITS)


def refusal(raw: str) -> ViewerError:
    with pytest.raises(ViewerError) as caught:
        protocol.parse(raw, LIMITS)
    return caught.value


def named_kinds() -> set[str]:
    kinds = get_args(protocol.ClientMessage)
    return {name for kind in kinds for name in get_args(kind.model_fields["type"].annotation)}


@pytest.mark.parametrize("message", VALID, ids=lambda message: message["type"])
def test_every_kind_parses(message: dict[str, Any]) -> None:
    assert parse(message).type == message["type"]


def test_every_kind_is_tried_here_and_in_the_docs() -> None:
    assert {message["type"] for message in VALID} == named_kinds()
    text = DOCS.read_text("utf-8")
    quoted = set(re.findall(r"`([a-z_.]+)`", text))
    assert named_kinds() <= quoted
    assert {code.value for code in ErrorCode} <= quoted
    for code, close in CLOSE_CODES.items():
        assert re.search(rf"`{re.escape(code.value)}` {close}", text), code


def numbers_of(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the numbers are in a message."""
    if isinstance(value, dict):
        return [found for key, part in value.items() for found in numbers_of(part, (*at, key))]
    if isinstance(value, list):
        return [found for key, part in enumerate(value) for found in numbers_of(part, (*at, key))]
    return [at] if isinstance(value, int | float) and not isinstance(value, bool) else []


EACH_NUMBER = [(message, where) for message in VALID for where in numbers_of(message) if where != ("protocol",)]


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "1e999", "-1e9", '"1"', "null", "true", "[]"])
@pytest.mark.parametrize(("message", "where"), EACH_NUMBER, ids=lambda part: str(part)[:60])
def test_a_bad_number_anywhere_is_refused(message: dict[str, Any], where: tuple[Any, ...], bad: str) -> None:
    copy = json.loads(json.dumps({"seq": 1, **message}))
    holder = copy
    for key in where[:-1]:
        holder = holder[key]
    holder[where[-1]] = "@@"
    error = refusal(json.dumps(copy).replace('"@@"', bad))
    assert error.code is ErrorCode.MESSAGE_INVALID
    assert not error.fatal


@pytest.mark.parametrize("message", VALID, ids=lambda message: message["type"])
def test_a_field_more_and_a_field_less_are_refused(message: dict[str, Any]) -> None:
    assert refusal(json.dumps({"seq": 1, **message, "extra": 1})).code is ErrorCode.MESSAGE_INVALID
    assert refusal(json.dumps(message)).code is ErrorCode.MESSAGE_INVALID


@pytest.mark.parametrize("raw", ["", "[]", "1", "{", "null", '{"seq": 1}', "[" * 60_000, '"\\ud800"'])
def test_what_is_no_message_is_refused(raw: str) -> None:
    assert refusal(raw).code is ErrorCode.MESSAGE_INVALID


def test_an_unknown_kind_is_told_apart() -> None:
    assert refusal('{"type": "zap", "seq": 1}').code is ErrorCode.MESSAGE_UNKNOWN


@pytest.mark.parametrize(("excess", "accepted"), [(-1, True), (0, True), (1, False)])
def test_limits_hold_to_the_one(excess: int, accepted: bool) -> None:
    samples = [{"x": 0, "y": 0, "at": 0}] * (protocol.MAX_SAMPLES + excess)
    points = [{"x": 0, "y": 0, "t": i / 100} for i in range(protocol.MAX_PATH_POINTS + excess)]
    path = {"type": "path", "gesture": 3, "points": points, "at": 0, "grid": GRID}
    prompt = {"type": "prompt", "text": "a" * (LIMITS.prompt_characters + excess)}
    for message in ({"type": "move", "gesture": 1, "samples": samples}, path, prompt):
        if accepted:
            parse(message)
        else:
            assert refusal(json.dumps({"seq": 1, **message})).code is ErrorCode.MESSAGE_INVALID


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_size_of_a_message_is_limited_in_bytes(excess: int) -> None:
    frame = '{"type": "start", "seq": 1}'
    raw = frame + " " * (LIMITS.message_bytes - len(frame) + excess)
    if excess <= 0:
        assert isinstance(protocol.parse(raw, LIMITS), protocol.Command)
    else:
        assert refusal(raw).code is ErrorCode.MESSAGE_TOO_LARGE
    assert refusal("é" * (LIMITS.message_bytes // 2 + 1)).code is ErrorCode.MESSAGE_TOO_LARGE


def test_prompts_lose_control_characters_and_refuse_nul() -> None:
    message = parse({"type": "prompt", "text": " snow\x1b[31m\r\n\u202e falls "})
    assert isinstance(message, protocol.SetPrompt)
    assert message.text == "snow[31m falls"
    assert refusal('{"type": "prompt", "seq": 1, "text": "a\\u0000b"}').code is ErrorCode.MESSAGE_INVALID
    assert refusal('{"type": "prompt", "seq": 1, "text": "\\ud800"}').code is ErrorCode.MESSAGE_INVALID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_fuzz_of_valid_messages_gives_a_finite_message_or_a_typed_error(data: st.DataObject) -> None:
    message = dict(data.draw(st.sampled_from(VALID)), seq=data.draw(st.integers(-5, 2**60)))
    for key in data.draw(st.lists(st.sampled_from(sorted(message)), max_size=2, unique=True)):
        message[key] = data.draw(JSON)
    raw = json.dumps(message)
    try:
        parsed = protocol.parse(raw, LIMITS)
    except ViewerError:
        reference = protocol.seq_of(raw)
        assert reference is None or reference >= 0
    else:
        dumped = parsed.model_dump()
        assert all(math.isfinite(value) for value in flat(dumped) if isinstance(value, float))


@settings(max_examples=300, deadline=None)
@given(raw=st.text(max_size=200))
def test_fuzz_of_text_never_raises_anything_else(raw: str) -> None:
    refusal(raw)
    protocol.seq_of(raw)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [found for part in value for found in flat(part)] if isinstance(value, list) else [value]
