"""The live studio: `create_app` for your own server, `run` for ours."""

from motionstream.serve.app import create_app
from motionstream.serve.limits import Limits
from motionstream.serve.server import run
from motionstream.serve.settings import ServeSettings

__all__ = ["Limits", "ServeSettings", "create_app", "run"]
