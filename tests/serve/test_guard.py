"""Only this server's own page may talk to it: exact Host, exact Origin, the token where one is set."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient
from tests.serve.conftest import Serve
from tests.serve.fake_model import FakeModel
from websockets.exceptions import InvalidStatus

from motionstream.serve import ServeSettings, create_app
from motionstream.serve.server import address, bind

HOME = "127.0.0.1:8000"
FOREIGN_HOSTS = ["evil.example", "127.0.0.1", "127.0.0.1:8001", "0.0.0.0:8000", "127.0.0.1:8000.evil.example",
                 "localhost.:8000", "LOCALHOST:8000", "a@127.0.0.1:8000", "", "2130706433:8000"]  # fmt: skip
FOREIGN_ORIGINS = ["http://evil.example", "null", "", "http://127.0.0.1:8001", "http://127.0.0.1", f"ftp://{HOME}",
                   f"http://{HOME}.evil.example", f"http://evil@{HOME}", f"http://{HOME}/", f"HTTP://{HOME}",
                   "http://localhost:8000", f"http://{HOME}, http://evil.example", f"file://{HOME}", HOME]  # fmt: skip


@pytest.fixture(scope="module")
def client():
    app = create_app(FakeModel(), ServeSettings(port=8000))
    with TestClient(app, base_url=f"http://{HOME}") as client:
        yield client


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize("path", ["/", "/api/info", "/healthz", "/js/main.js"])
def test_a_foreign_host_is_refused(client: TestClient, host: str, path: str) -> None:
    assert client.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", [HOME, "localhost:8000", "[::1]:8000"])
def test_the_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).json() == {"status": "ready"}


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize("path", ["/api/pictures", "/api/replays"])
def test_a_foreign_page_cannot_upload(client: TestClient, origin: str, path: str) -> None:
    assert client.post(path, content=b"x", headers={"origin": origin}).status_code == 403


def test_an_upload_without_an_origin_is_refused_and_from_home_is_judged(client: TestClient) -> None:
    assert client.post("/api/pictures", content=b"x").status_code == 403
    answer = client.post("/api/pictures", content=b"x", headers={"origin": f"http://{HOME}"})
    assert (answer.status_code, answer.json()["code"]) == (415, "image.unsupported")


@pytest.mark.parametrize(
    "path", ["/../settings.py", "/%2e%2e/settings.py", "/js/..%2f..%2fapp.py", "/gallery/%00", "//etc/passwd"]
)
def test_files_outside_the_page_are_not_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_keeps_to_itself(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    for outside in ("http://", "https://", "<style", " style=", " onclick="):
        assert outside not in answer.text


def test_a_live_connection_needs_the_origin_of_the_page(serve: Serve) -> None:
    server = serve()
    for origin in ("http://evil.example", "null", None, f"{server.origin}.evil.example"):
        with pytest.raises(InvalidStatus) as caught:
            server.connect(origin=origin)
        assert caught.value.response.status_code == 403
    assert server.studio.viewers == 0
    server.viewer().close()


@pytest.mark.parametrize("token", [None, "", "wrong", "secret-toke", "secret-token "])
def test_a_wrong_token_closes(serve: Serve, token: str | None) -> None:
    client = serve(token="secret-token").connect()
    client.send("hello", protocol=1, token=token)
    assert client.receive()["code"] == "auth.failed"
    with pytest.raises(Exception, match="4401"):
        client.receive()


def test_the_right_token_opens_also_without_an_origin(serve: Serve) -> None:
    client = serve(token="secret-token").connect(origin=None)
    client.send("hello", protocol=1, token="secret-token")
    assert client.expect("welcome")
    client.close()


def test_the_token_is_asked_for_on_every_upload_and_download() -> None:
    app = create_app(FakeModel(), ServeSettings(port=8000, token="secret-token"))
    with TestClient(app, base_url=f"http://{HOME}") as client:
        for method, path in (
            ("POST", "/api/pictures"),
            ("POST", "/api/replays"),
            ("GET", "/api/recordings/x"),
            ("GET", "/api/gestures/x"),
        ):
            assert client.request(method, path).status_code == 401
            assert client.request(method, path, headers={"authorization": "Bearer secret-toke"}).status_code == 401
            assert client.request(method, path, headers={"authorization": "Bearer secret-token"}).status_code != 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_beyond_loopback_a_token_is_needed(host: str) -> None:
    for token in (None, "short"):
        with pytest.raises(ValidationError, match="token"):
            ServeSettings(host=host, token=token)
    settings = ServeSettings(host=host, token="long enough")
    assert not settings.loopback
    assert "long enough" not in repr(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_loopback_needs_none(host: str) -> None:
    assert ServeSettings(host=host).loopback


def test_a_sink_that_nobody_knows_is_refused() -> None:
    assert ServeSettings().sink == "fixed"
    assert ServeSettings(sink="refresh").sink == "refresh"
    with pytest.raises(ValidationError, match="sink 'drain' is unknown: use fixed or refresh"):
        ServeSettings(sink="drain")


def test_a_port_in_use_is_one_clear_line() -> None:
    with bind(ServeSettings(port=0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1 port {port} .*--port"):
            bind(ServeSettings(port=port))


def test_the_address_carries_the_token_in_its_fragment() -> None:
    assert address(ServeSettings(port=1234)) == "http://127.0.0.1:1234/"
    assert address(ServeSettings(host="0.0.0.0", port=1234, token="long enough")).endswith(":1234/#token=long enough")
