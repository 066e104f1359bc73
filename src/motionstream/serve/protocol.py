"""The live protocol: every message that a viewer may send, and the chunks that are sent back (docs/protocol.md).

Messages are JSON text; positions are shares of the frame (x 0 left … 1 right, y 0 top … 1 bottom), up to half a frame
outside; times are stream seconds of the frame on display.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgpack
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from motionstream.serve.errors import ErrorCode, ViewerError
from motionstream.serve.limits import Limits

PROTOCOL = 1
CHUNK_KIND = 1
MAX_PATH_POINTS = 600
MAX_SAMPLES = 64

Coordinate = Annotated[float, Field(ge=-0.5, le=1.5)]
StreamSeconds = Annotated[float, Field(ge=0, le=1e7)]
GestureId = Annotated[int, Field(ge=0, le=2**31 - 1)]
Sequence_ = Annotated[int, Field(ge=0, le=2**53)]
PictureId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def _clean_text(text: str) -> str:
    """Text without control characters; NUL and unpaired surrogates are refused."""
    if "\0" in text:
        raise ValueError("contains NUL: send text")
    text.encode("utf-8")
    return "".join(c for c in text if c.isprintable() or c == " ").strip()


Prompt = Annotated[str, Field(max_length=Limits.prompt_characters), AfterValidator(_clean_text)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Message(_Strict):
    """All messages: `seq` grows with each message and is sent back as `applied_seq` or `ref`."""

    seq: Sequence_


class _OnlySeq(Message):
    model_config = ConfigDict(extra="ignore")


class Grid(_Strict):
    """A square of points around the pressed place; lengths are shares of the frame's width.

    falloff: radius at which a cosine fall-off of the movement reaches 0; 0 moves all points alike (rigid).
    """

    size: Annotated[float, Field(ge=0, le=1)]
    spacing: Annotated[float, Field(ge=0.004, le=0.25)]
    falloff: Annotated[float, Field(ge=0, le=2)] = 0.0


class PathPoint(_Strict):
    """One position of a drawn path; `t` seconds after its start."""

    x: Coordinate
    y: Coordinate
    t: Annotated[float, Field(ge=0, le=60)]


class Sample(_Strict):
    """The pointer at one moment."""

    x: Coordinate
    y: Coordinate
    at: StreamSeconds


class Hello(Message):
    """First message: the version of the protocol, and the token where the server has one."""

    type: Literal["hello"]
    protocol: int
    token: Annotated[str, Field(max_length=256)] | None = None


class Open(Message):
    """Choose the first frame; ends the session before."""

    type: Literal["open"]
    source: Literal["gallery", "upload"]
    picture: PictureId
    prompt: Prompt = ""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Replay(Message):
    """Open the picture, prompt and seed of an uploaded gesture recording and play its gestures."""

    type: Literal["replay"]
    replay: PictureId


class Command(Message):
    """Run, pause or restart the stream; gestures: ask for the gestures so far as a file."""

    type: Literal["start", "pause", "resume", "stop", "gestures"]


class SetPrompt(Message):
    type: Literal["prompt"]
    text: Prompt


class _Gesture(Message):
    """A gesture under its number; `at`: when."""

    gesture: GestureId
    at: StreamSeconds


class _Placed(_Gesture):
    """A grid of points around (x, y)."""

    x: Coordinate
    y: Coordinate
    grid: Grid


class Down(_Placed):
    """Begin a drag: the grid follows the pointer until `up`."""

    type: Literal["down"]


class Pin(_Placed):
    """Keep the grid still until `remove`."""

    type: Literal["pin"]


class Move(Message):
    type: Literal["move"]
    gesture: GestureId
    samples: Annotated[list[Sample], Field(min_length=1, max_length=MAX_SAMPLES)]


class Path(_Gesture):
    """A movement drawn in advance, with its own timing, from stream second `at` on."""

    type: Literal["path"]
    points: Annotated[list[PathPoint], Field(min_length=2, max_length=MAX_PATH_POINTS)]
    grid: Grid
    loop: bool = False


class End(_Gesture):
    """End a drag (up), or release a pin or end a path (remove)."""

    type: Literal["up", "remove"]


class Clear(Message):
    """Release everything."""

    type: Literal["clear"]
    at: StreamSeconds


class Ack(Message):
    """Chunk `chunk` arrived; `buffered` frames wait to be shown, this chunk's included."""

    type: Literal["ack"]
    chunk: Annotated[int, Field(ge=0)]
    buffered: Annotated[int, Field(ge=0, le=100_000)]


class Record(Message):
    """Begin or end the MP4 recording of what is shown."""

    type: Literal["record"]
    on: bool


GestureMessage = Down | Move | Pin | Path | End | Clear
ClientMessage = Hello | Open | Replay | Command | SetPrompt | Ack | Record | GestureMessage
_PARSER: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])


def parse(raw: str, limits: Limits) -> ClientMessage:
    """JSON text → message. Raises ViewerError naming the field and what to send."""
    size = len(raw.encode("utf-8", "surrogatepass"))
    if size > limits.message_bytes:
        raise ViewerError(
            ErrorCode.MESSAGE_TOO_LARGE, f"message of {size} bytes: send at most {limits.message_bytes} bytes"
        )
    try:
        return _PARSER.validate_json(raw)
    except ValidationError as error:
        raise _explain(error) from None
    except (ValueError, RecursionError):
        raise ViewerError(ErrorCode.MESSAGE_INVALID, "message: send one JSON object in UTF-8") from None


def _explain(error: ValidationError) -> ViewerError:
    """The first error, as one line with nothing of the input but field names."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "union_tag_invalid":
        return ViewerError(ErrorCode.MESSAGE_UNKNOWN, "type: unknown kind of message; see docs/protocol.md")
    where = ".".join(str(part)[:40] for part in first["loc"]) or "message"
    return ViewerError(ErrorCode.MESSAGE_INVALID, f"{where}: {first['msg']}"[:300])


def seq_of(raw: str) -> int | None:
    """The `seq` of a message that was not accepted, where it has one: the `ref` of the answer."""
    try:
        return _OnlySeq.model_validate_json(raw[: Limits.message_bytes]).seq
    except (ValueError, RecursionError):
        return None


def pack_chunk(header: Mapping[str, Any], frames: Sequence[bytes]) -> bytes:
    """Header and JPEG frames → one binary message: kind byte, then a MessagePack map with `frames` in it."""
    packed: bytes = msgpack.packb({**header, "frames": list(frames)})
    return bytes([CHUNK_KIND]) + packed
