"""`motionstream demo` and `motionstream serve`: the live studio, on this machine or for others."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import typer

from motionstream.cli import options

Port = Annotated[int, typer.Option(help="TCP port; 0: any free one.", min=0, max=65535)]


def demo(
    model: options.Model = "tiny",
    device: options.Device = "auto",
    port: Port = 0,
    browser: Annotated[bool, typer.Option(help="Open the studio in the browser once the model is loaded.")] = True,
    sink: options.Sink = "fixed",
) -> None:
    """Open the live studio on this machine.

    Choose a picture, press Enter, drag. Only this machine can reach it. End it with Ctrl-C.

    [bold]motionstream demo[/]
    """
    _serve(model, device, host="127.0.0.1", port=port, open_browser=browser, sink=sink)


def serve(
    model: options.Model = "tiny",
    device: options.Device = "auto",
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs --token.")] = "127.0.0.1",
    port: Port = 7860,
    token: Annotated[
        str | None, typer.Option(envvar="MOTIONSTREAM_TOKEN", help="Secret that viewers must send.", show_envvar=True)
    ] = None,
    sink: options.Sink = "fixed",
) -> None:
    """Serve the live studio and its WebSocket to viewers (docs/protocol.md).

    [bold]motionstream serve --port 8000[/]

    [bold]MOTIONSTREAM_TOKEN=… motionstream serve --host 0.0.0.0[/]
    """
    _serve(model, device, host=host, port=port, token=token, sink=sink)


def _serve(model: str, device: str, **settings: Any) -> None:
    from motionstream.serve import ServeSettings, run

    checked = ServeSettings(**settings)
    with suppress(KeyboardInterrupt):  # Ctrl-C is how a server is ended
        run(options.load_model(model, device), checked)
