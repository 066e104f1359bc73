"""One connected viewer: reads its messages and sends its chunks just in time, without blocking other viewers."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from motionstream.serve import protocol
from motionstream.serve.artifacts import Recent, RecentFiles
from motionstream.serve.errors import ErrorCode, ViewerError
from motionstream.serve.gestures import GestureMapper
from motionstream.serve.limits import Bucket, Limits
from motionstream.serve.model_thread import ModelLike, ModelThread
from motionstream.serve.pictures import PictureStore
from motionstream.serve.playout import Playout
from motionstream.serve.session import Origin, Script, Session
from motionstream.serve.settings import ServeSettings
from motionstream.stream.sink import opening
from motionstream.tracks.record import Recording

log = logging.getLogger(__name__)


class Studio:
    """What all connections of one server share. folder: for recordings."""

    def __init__(self, model: ModelLike, settings: ServeSettings, limits: Limits, folder: Path) -> None:
        self.settings, self.limits, self.folder = settings, limits, folder
        self.model_thread = ModelThread(model)
        self.pictures = PictureStore(limits)
        self.recordings = RecentFiles(limits.recordings_kept)
        self.gesture_logs = Recent[str](limits.recordings_kept)
        self.replays = Recent[Recording](limits.recordings_kept)
        self.size, self.fps = (0, 0), 0.0
        self.viewers = 0

    async def warm_up(self) -> None:
        """Make the model ready; from then on its size (W, H) and frames a second are here."""
        self.size, self.fps = await self.model_thread.warm_up()


class Connection:
    """Serves one WebSocket from hello to close. States: none → ready → running ⇄ paused → ready."""

    def __init__(self, socket: WebSocket, studio: Studio) -> None:
        self._socket = socket
        self._studio = studio
        self._session: Session | None = None
        self._mapper = GestureMapper(studio.size)
        self._playout = Playout(studio.fps)
        self._running = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._sending = asyncio.Lock()
        limits = studio.limits
        self._messages = Bucket(limits.messages_per_second, limits.message_burst)
        self._mistakes = Bucket(limits.bad_messages_per_second, limits.bad_message_burst)

    async def serve(self) -> None:
        """Run until the viewer leaves or breaks a rule that ends the connection."""
        await self._socket.accept()
        self._studio.viewers += 1
        try:
            await self._greet()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive())
                tasks.create_task(self._generate())
        except* ViewerError as group:
            await self._close(_first_viewer_error(group))
        except* WebSocketDisconnect:
            pass
        except* Exception:
            await self._close(self._incident())
        finally:
            self._studio.viewers -= 1
            self._drop_session()

    async def _greet(self) -> None:
        """Check the number of viewers, the protocol and the token before anything else."""
        limits = self._studio.limits
        if self._studio.viewers > limits.viewers:
            raise ViewerError(ErrorCode.SERVER_FULL, "too many viewers: try again later")
        try:
            async with asyncio.timeout(limits.hello_seconds):
                hello = protocol.parse(await self._read(), limits)
        except TimeoutError:
            raise ViewerError(ErrorCode.AUTH_FAILED, "no hello: send it at once after connecting") from None
        except ViewerError:
            raise ViewerError(ErrorCode.AUTH_FAILED, "first message: send hello") from None
        if not isinstance(hello, protocol.Hello) or hello.protocol != protocol.PROTOCOL:
            raise ViewerError(ErrorCode.AUTH_FAILED, f"first message: send hello of protocol {protocol.PROTOCOL}")
        if not self._studio.settings.token_fits(hello.token):
            raise ViewerError(ErrorCode.AUTH_FAILED, "wrong token: open the address that the server printed")
        await self._send({"type": "welcome", "protocol": protocol.PROTOCOL})

    async def _read(self) -> str:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        text = message.get("text")
        if text is None:
            raise ViewerError(ErrorCode.MESSAGE_INVALID, "binary message: send JSON text")
        return str(text)

    async def _receive(self) -> None:
        """Handle messages one by one; a wrong one is answered with an error and changes nothing."""
        while True:
            raw = ""
            try:
                raw = await self._read()
                if not self._messages.take():
                    raise ViewerError(ErrorCode.VIEWER_FLOOD, "too many messages: send at most one a frame")
                await self._handle(protocol.parse(raw, self._studio.limits))
            except ViewerError as error:
                if error.fatal:
                    raise
                await self._send(error.as_message(protocol.seq_of(raw)))
                if not self._mistakes.take():
                    raise ViewerError(ErrorCode.VIEWER_FLOOD, "too many bad messages in a row") from None

    async def _handle(self, message: protocol.ClientMessage) -> None:
        match message:
            case protocol.Hello():
                raise ViewerError(ErrorCode.MESSAGE_ORDER, "hello: send it once, first")
            case protocol.Open():
                await self._open(Origin(message.source, message.picture, message.prompt, message.seed))
            case protocol.Replay():
                recording = self._studio.replays.get(message.replay)
                header = recording.header
                source, _, picture = header.image.partition(":")
                await self._open(Origin(source, picture, header.prompt, header.seed), deque(recording.script))
            case protocol.Ack():
                self._playout.acknowledged(message.chunk, message.buffered)
                self._acknowledged.set()
            case protocol.Command(type="start" | "resume" | "pause"):
                await self._set_running(message.type != "pause")
            case protocol.Command(type="stop"):
                await self._open(self._need_session().origin)
            case protocol.Command():
                await self._save_gestures()
            case protocol.SetPrompt():
                self._need_session().set_prompt(message.seq, message.text)
            case protocol.Record():
                await self._record(message.on)
            case _:
                session = self._need_session()
                try:
                    session.apply(message.seq, self._mapper.translate(message))
                except ValueError as error:
                    raise ViewerError(ErrorCode.GESTURE_REFUSED, str(error)) from None

    def _need_session(self) -> Session:
        if self._session is None:
            raise ViewerError(ErrorCode.MESSAGE_ORDER, "no picture is open: send open first")
        return self._session

    async def _open(self, origin: Origin, script: Script | None = None) -> None:
        """Begin a new session; the one before, and its recording, end once the new one is open."""
        studio = self._studio
        picture = await run_in_threadpool(studio.pictures.get, origin.source, origin.picture)
        if self._session is not None:
            await self._finish_recording(self._session)
        model = studio.model_thread.model
        stream = await studio.model_thread.run(
            lambda: model.open(picture, prompt=origin.prompt, seed=origin.seed, **opening(studio.settings.sink))
        )
        self._drop_session()
        self._session = Session(stream, origin, studio.limits, studio.settings.jpeg_quality, script)
        self._mapper, self._playout = GestureMapper(self._session.size), Playout(self._session.fps)
        self._acknowledged.set()
        await self._send(
            {
                "type": "opened",
                "source": origin.source,
                "picture": origin.picture,
                "prompt": origin.prompt,
                "seed": origin.seed,
                "size": list(self._session.size),
                "fps": self._session.fps,
                "chunk_frames": self._session.chunk_frames,
                "replay": bool(script),
            }
        )
        await self._tell_state("ready")

    async def _set_running(self, running: bool) -> None:
        session = self._need_session()
        if running and not self._running.is_set():
            session.note_running(True)
            self._playout.resume()
            self._running.set()
        elif not running and self._running.is_set():
            session.note_running(False)
            self._running.clear()
            self._playout.pause()
        await self._tell_state("running" if running else "paused")

    async def _tell_state(self, state: str) -> None:
        await self._send({"type": "state", "state": state})

    async def _record(self, on: bool) -> None:
        session = self._need_session()
        if on:
            await self._studio.model_thread.run(lambda: session.start_recording(self._studio.folder))
            await self._send({"type": "recording", "on": True, "id": None, "frames": 0})
        else:
            await self._finish_recording(session)

    async def _finish_recording(self, session: Session) -> None:
        finished = await self._studio.model_thread.run(session.stop_recording)
        if finished is not None:
            name = self._studio.recordings.put(finished[0])
            await self._send({"type": "recording", "on": False, "id": name, "frames": finished[1]})

    def _drop_session(self) -> None:
        """End the session; the model thread closes it after its current job."""
        session, self._session = self._session, None
        self._running.clear()
        if session is not None:
            self._studio.model_thread.later(session.close)

    async def _save_gestures(self) -> None:
        """Keep the gestures so far for download."""
        recording = self._need_session().recording()
        text = "".join(f"{line}\n" for line in recording.lines())
        name = self._studio.gesture_logs.put(text)
        await self._send({"type": "gestures", "id": name, "events": len(recording.events)})

    async def _generate(self) -> None:
        """Make chunks while running, each as late as the play-out buffer allows."""
        while True:
            await self._running.wait()
            session, playout = self._session, self._playout
            if session is None or not await self._due(playout):
                continue
            started = time.monotonic()
            chunk = await self._studio.model_thread.run(session.next_chunk)
            if session is self._session:
                playout.sent(chunk.number, chunk.frames, started)
                self._studio.model_thread.later(session.settle)
                async with self._unless_slow(), self._sending:
                    await self._socket.send_bytes(chunk.data)

    async def _due(self, playout: Playout) -> bool:
        """Wait until the next chunk should start; False if the session changed or paused meanwhile."""
        await self._acknowledgements(playout)
        while self._running.is_set() and playout is self._playout and (wait := playout.wait()) > 0:
            await asyncio.sleep(min(wait, 0.05))
        return self._running.is_set() and playout is self._playout

    async def _acknowledgements(self, playout: Playout) -> None:
        """Wait while too many chunks are unacknowledged: none are made for a viewer that does not read."""
        async with self._unless_slow():
            while playout is self._playout and playout.unacknowledged >= self._studio.limits.unacknowledged_chunks:
                self._acknowledged.clear()
                await self._acknowledged.wait()

    async def _send(self, message: dict[str, object]) -> None:
        async with self._sending:
            await self._socket.send_json(message)

    @asynccontextmanager
    async def _unless_slow(self) -> AsyncIterator[None]:
        """Ends the connection when the block takes longer than a viewer may be behind."""
        seconds = self._studio.limits.stall_seconds
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            message = f"no chunk was acknowledged for {seconds:g} s: connect again"
            raise ViewerError(ErrorCode.VIEWER_SLOW, message) from None

    def _incident(self) -> ViewerError:
        """An error of the server: details go to the log, a number to the viewer."""
        incident = secrets.token_hex(4)
        log.exception("incident %s: the stream of a viewer failed", incident)
        return ViewerError(ErrorCode.ENGINE_FAILED, f"the stream failed (incident {incident}): start again")

    async def _close(self, error: ViewerError) -> None:
        """Send the error, then close; a viewer that is gone or does not read is not waited for."""
        if self._socket.client_state is not WebSocketState.CONNECTED:
            return
        try:
            async with asyncio.timeout(1):
                await self._socket.send_json(error.as_message())
                await self._socket.close(error.close_code if error.fatal else 1008)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            log.info("a viewer was gone before it could be sent %s", error.code)


def _first_viewer_error(group: BaseExceptionGroup[ViewerError]) -> ViewerError:
    first = group.exceptions[0]
    return _first_viewer_error(first) if isinstance(first, BaseExceptionGroup) else first
