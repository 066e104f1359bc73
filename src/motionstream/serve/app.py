"""The web application: the studio page, uploads, downloads, and one WebSocket a viewer."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from motionstream.serve.artifacts import parse_recording
from motionstream.serve.connection import Connection, Studio
from motionstream.serve.errors import ErrorCode, ViewerError
from motionstream.serve.guard import Guard
from motionstream.serve.limits import Limits
from motionstream.serve.model_thread import ModelLike
from motionstream.serve.protocol import PROTOCOL
from motionstream.serve.settings import ServeSettings

DRAIN_SECONDS = 0.2
"""How long the rest of a refused upload is read."""


def create_app(model: ModelLike, settings: ServeSettings, limits: Limits | None = None) -> FastAPI:
    """The studio for one model. The model is warmed up before the first request is answered."""
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Recordings are in a temporary folder, deleted when the server ends; the model finishes its job first."""
        with tempfile.TemporaryDirectory(prefix="motionstream-") as folder:
            app.state.studio = studio = Studio(model, settings, limits, Path(folder))
            await studio.warm_up()
            try:
                yield
            finally:
                await run_in_threadpool(studio.model_thread.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.decoding = asyncio.Semaphore(limits.decodes_at_once)
    app.add_middleware(Guard, settings=settings)
    app.add_exception_handler(ViewerError, _answer_error)
    _add_routes(app)
    app.mount("/", StaticFiles(directory=str(resources.files("motionstream.serve") / "web"), html=True))
    return app


async def _answer_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ViewerError)
    unread = {"Connection": "close"}  # the rest of the body is not waited for
    return JSONResponse(error.as_message(), error.http_status, unread)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


def _authorised(request: Request) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if not _studio(request).settings.token_fits(given if scheme == "Bearer" else None):
        raise ViewerError(ErrorCode.AUTH_FAILED, "wrong token: open the address that the server printed")


async def _body(request: Request, limit: int, code: ErrorCode) -> bytes:
    """The request's body; refused as soon as it, or its Content-Length, is over the limit."""
    data = bytearray()
    announced = request.headers.get("content-length", "0")
    too_large = ViewerError(code, f"file too large: send at most {limit} bytes")
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    stream = request.stream()
    async for part in stream:
        data += part
        if len(data) > limit:
            await _drain(stream)
            raise too_large
    return bytes(data)


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Read what still arrives: closing with unread bytes resets the connection, and the answer would be lost."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in stream:
                pass


def _add_routes(app: FastAPI) -> None:
    authorised = [Depends(_authorised)]
    app.add_api_route("/healthz", _health, methods=["GET"])
    app.add_api_route("/api/info", _info, methods=["GET"])
    app.add_api_route("/api/pictures", _add_picture, methods=["POST"], dependencies=authorised)
    app.add_api_route("/api/replays", _add_replay, methods=["POST"], dependencies=authorised)
    app.add_api_route("/api/recordings/{name}", _recording, methods=["GET"], dependencies=authorised)
    app.add_api_route("/api/gestures/{name}", _gestures, methods=["GET"], dependencies=authorised)
    app.add_api_websocket_route("/live", _live)


async def _health() -> dict[str, str]:
    """Answers once the model is warm."""
    return {"status": "ready"}


async def _info(request: Request) -> dict[str, Any]:
    """What the page needs before it connects."""
    studio = _studio(request)
    limits = studio.limits
    return {
        "protocol": PROTOCOL,
        "size": list(studio.size),
        "fps": studio.fps,
        "token": studio.settings.token is not None,
        "gallery": studio.pictures.gallery,
        "limits": {
            "upload_bytes": limits.upload_bytes,
            "prompt_characters": limits.prompt_characters,
            "points": limits.points,
        },
    }


async def _add_picture(request: Request) -> dict[str, Any]:
    studio = _studio(request)
    data = await _body(request, studio.limits.upload_bytes, ErrorCode.IMAGE_TOO_LARGE)
    async with request.app.state.decoding:
        name, size = await run_in_threadpool(studio.pictures.add, data)
    return {"id": name, "width": size[0], "height": size[1]}


async def _add_replay(request: Request) -> dict[str, Any]:
    studio = _studio(request)
    data = await _body(request, studio.limits.replay_bytes, ErrorCode.REPLAY_INVALID)
    recording = await run_in_threadpool(parse_recording, data, studio.size, studio.fps)
    return {"id": studio.replays.put(recording), "events": len(recording.events)}


async def _recording(request: Request, name: str) -> FileResponse:
    path = _studio(request).recordings.get(name)
    return FileResponse(path, media_type="video/mp4", filename="motionstream.mp4")


async def _gestures(request: Request, name: str) -> PlainTextResponse:
    return PlainTextResponse(_studio(request).gesture_logs.get(name), media_type="application/x-ndjson")


async def _live(socket: WebSocket) -> None:
    await Connection(socket, socket.app.state.studio).serve()
