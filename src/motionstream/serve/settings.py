"""Settings of the server, from arguments or MOTIONSTREAM_* environment variables."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from functools import cached_property

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from motionstream.stream.sink import FIXED, policy

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


class ServeSettings(BaseSettings):
    """Settings of one server.

    host: address to bind; any but loopback needs a `token`. port: 0 takes a free one.
    allowed_hosts: exact `host[:port]` names under which viewers may reach the server besides its own.
    jpeg_quality: 1…95 of the frames sent. open_browser: open the studio when the server is ready.
    sink: which keys the attention sink keeps once the view has left the first scene, "fixed" or "refresh".
    """

    model_config = SettingsConfigDict(env_prefix="MOTIONSTREAM_", extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=0, le=65535)
    token: SecretStr | None = None
    allowed_hosts: tuple[str, ...] = ()
    jpeg_quality: int = Field(default=90, ge=1, le=95)
    open_browser: bool = False
    sink: str = FIXED

    @field_validator("sink")
    @classmethod
    def _known_sink(cls, name: str) -> str:
        policy(name)
        return name

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> ServeSettings:
        if not self.loopback and not (self.token and len(self.token.get_secret_value()) >= 8):
            raise ValueError(
                f"host {self.host} is reachable by others: give a token of 8 characters or more, or use 127.0.0.1"
            )
        return self

    def token_fits(self, given: str | None) -> bool:
        """Whether the token is right, or none is required; compared in constant time."""
        if self.token is None:
            return True
        return hmac.compare_digest(self.token.get_secret_value().encode(), (given or "").encode())

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @cached_property
    def host_names(self) -> frozenset[str]:
        """Every Host header that is accepted, in lower case, with the port unless it is 80 or 443."""
        names = set(LOOPBACK_NAMES)
        if not self.loopback:
            names |= {self.host, socket.gethostname().lower(), *_own_addresses()}
        with_port = {f"{name}:{self.port}" for name in names}
        bare = names if self.port in (80, 443) else set()
        return frozenset(with_port | bare | {name.lower() for name in self.allowed_hosts})


def _own_addresses() -> set[str]:
    """IPv4 addresses of this machine's own name."""
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except OSError:
        return set()
