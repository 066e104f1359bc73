"""Runs the application: binds the port, prints the address, opens the browser once the model is warm."""

from __future__ import annotations

import socket
import webbrowser

import uvicorn

from motionstream.serve.app import create_app
from motionstream.serve.limits import Limits
from motionstream.serve.model_thread import ModelLike
from motionstream.serve.settings import ServeSettings


def bind(settings: ServeSettings) -> socket.socket:
    """The listening socket. Raises ValueError if the address is not available."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        reason = error.strerror or "not available"
        raise ValueError(
            f"cannot listen on {settings.host} port {settings.port} ({reason.lower()}): choose another with --port"
        ) from None
    return listener


def address(settings: ServeSettings) -> str:
    """The address to open; the token is in the fragment, which browsers do not send."""
    name = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    name = f"[{name}]" if ":" in name else name
    fragment = f"#token={settings.token.get_secret_value()}" if settings.token else ""
    return f"http://{name}:{settings.port}/{fragment}"


class _Server(uvicorn.Server):
    """Prints the address once requests are answered."""

    def __init__(self, config: uvicorn.Config, settings: ServeSettings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(f"MotionStream studio: {address(self._settings)}", flush=True)
            if self._settings.open_browser:
                webbrowser.open(address(self._settings))


def run(model: ModelLike, settings: ServeSettings, limits: Limits | None = None) -> None:
    """Serve until interrupted. Raises ValueError if the port is not available."""
    limits = limits or Limits()
    listener = bind(settings)
    bound = settings.model_copy(update={"port": listener.getsockname()[1]})
    config = uvicorn.Config(
        create_app(model, bound, limits),
        ws="websockets-sansio",
        ws_max_size=2 * limits.message_bytes,  # larger ones close the connection without an error message
        ws_per_message_deflate=False,
        h11_max_incomplete_event_size=16 * 1024,
        timeout_graceful_shutdown=3,
        log_level="warning",
        server_header=False,
    )
    with listener:
        _Server(config, bound).run(sockets=[listener])
