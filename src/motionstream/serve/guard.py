"""Checks Host and Origin of every request, and sets the security headers of the page."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motionstream.serve.settings import ServeSettings

SAFE_METHODS = ("GET", "HEAD")
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Guard:
    """ASGI middleware. A foreign Host or Origin gets 403 before anything else, a WebSocket before its upgrade."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app = app
        self._hosts = settings.host_names
        self._token_wanted = settings.token is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif not self._allowed(scope):
            await _refuse(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _with_page_headers(send))

    def _allowed(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or headers["host"] not in self._hosts:
            return False
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        return not changes or self._origin_fits(headers)

    def _origin_fits(self, headers: Headers) -> bool:
        """Whether Origin is the address of the page itself; no Origin is allowed only where a token is required."""
        origins = headers.getlist("origin")
        if not origins:
            return self._token_wanted
        parts = urlsplit(origins[0])
        exact = f"{parts.scheme}://{parts.netloc}" == origins[0] and parts.scheme in ("http", "https")
        return len(origins) == 1 and exact and parts.netloc == headers["host"]


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await PlainTextResponse("Forbidden", 403)(scope, receive, send)


def _with_page_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in PAGE_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sender
