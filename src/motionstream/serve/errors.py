"""All errors that a viewer can get, and whether each closes the connection."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Every `code` of an error message."""

    MESSAGE_INVALID = "message.invalid"
    MESSAGE_UNKNOWN = "message.unknown"
    MESSAGE_TOO_LARGE = "message.too_large"
    MESSAGE_ORDER = "message.order"
    GESTURE_REFUSED = "gesture.refused"
    PICTURE_UNKNOWN = "picture.unknown"
    IMAGE_TOO_LARGE = "image.too_large"
    IMAGE_TOO_SMALL = "image.too_small"
    IMAGE_UNSUPPORTED = "image.unsupported"
    IMAGE_CORRUPT = "image.corrupt"
    REPLAY_INVALID = "replay.invalid"
    RECORDING_UNKNOWN = "recording.unknown"
    AUTH_FAILED = "auth.failed"
    SERVER_FULL = "server.full"
    VIEWER_SLOW = "viewer.slow"
    VIEWER_FLOOD = "viewer.flood"
    ENGINE_FAILED = "engine.failed"


CLOSE_CODES: dict[ErrorCode, int] = {
    ErrorCode.MESSAGE_TOO_LARGE: 1009,
    ErrorCode.AUTH_FAILED: 4401,
    ErrorCode.SERVER_FULL: 1013,
    ErrorCode.VIEWER_SLOW: 4408,
    ErrorCode.VIEWER_FLOOD: 4429,
    ErrorCode.ENGINE_FAILED: 1011,
}
"""Fatal errors and the WebSocket close code that follows each; every other error leaves the stream as it was."""

HTTP_STATUS: dict[ErrorCode, int] = {
    ErrorCode.AUTH_FAILED: 401,
    ErrorCode.PICTURE_UNKNOWN: 404,
    ErrorCode.RECORDING_UNKNOWN: 404,
    ErrorCode.IMAGE_TOO_LARGE: 413,
    ErrorCode.IMAGE_UNSUPPORTED: 415,
}
"""HTTP status of errors answered over HTTP; 422 where none is listed."""


class ViewerError(Exception):
    """A wrong input, or a limit reached, that is answered by one error message.

    message: what was wrong and what to send instead; never a path, a host name or a stack trace.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def fatal(self) -> bool:
        """Whether the connection closes after this error."""
        return self.code in CLOSE_CODES

    @property
    def close_code(self) -> int:
        """WebSocket close code of a fatal error."""
        return CLOSE_CODES[self.code]

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, 422)

    def as_message(self, ref: int | None = None) -> dict[str, object]:
        """The message to send; ref: the `seq` of the message that caused it."""
        return {"type": "error", "code": self.code.value, "message": self.message, "fatal": self.fatal, "ref": ref}
