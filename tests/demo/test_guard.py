"""Limits of the demo's server, in this process: routes, hosts, origins, sizes of bodies, concurrent uploads."""

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule

httpx = pytest.importorskip("httpx", reason="needs the extra [demo]")
pytest.importorskip("gradio", reason="needs the extra [demo]")

from fashion_mlp.demo import server  # noqa: E402
from fashion_mlp.demo.page import MAX_BYTES  # noqa: E402

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Send = Callable[..., Any]


@pytest.fixture(scope="module")
def app(classifier: Classifier, data: ImageDataModule) -> Iterator[Any]:
    with server.make_server({"first": classifier}, data, ["localhost", "127.0.0.1", "[::1]", "demo.example"]) as web:
        yield web.config.app


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Return a function that runs a coroutine, in one event loop as in a server."""
    with closing(asyncio.new_event_loop()) as loop:
        yield loop.run_until_complete


def client(app: Any) -> Any:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:7860")


@pytest.fixture
def send(app: Any, run: Run) -> Send:
    """Return a function that sends one request and returns the response."""

    async def sent(method: str, path: str, **options: Any) -> Any:
        async with client(app) as session:
            return await session.request(method, path, **options)

    return lambda *args, **options: run(sent(*args, **options))


@pytest.fixture(autouse=True)
def _nothing_is_stored() -> Iterator[None]:
    """Check that a test leaves no temporary file, in Gradio's directory or elsewhere."""
    directory = Path(tempfile.gettempdir())
    before = sorted(directory.rglob("*"))
    yield
    assert sorted(directory.rglob("*")) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/run/picture_file"),
        ("POST", "/gradio_api/api/picture_file"),
        ("POST", "/gradio_api/call/picture_file"),
        ("POST", "/gradio_api/call/v2/picture_file"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/reset"),
        ("POST", "/gradio_api/cancel"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/heartbeat/x"),
        ("GET", "/gradio_api/upload_progress"),
        ("GET", "/gradio_api/proxy=https://example.org/x"),
        ("GET", "/gradio_api/startup-events"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/config"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/pwa_icon/9999"),
        ("POST", "/login"),
        ("GET", "/logout"),
        # Methods that the page does not use.
        ("GET", "/answer"),
        ("PUT", "/answer"),
        ("OPTIONS", "/answer"),
        ("POST", "/"),
        ("GET", "/gradio_api/queue/join"),
        ("DELETE", "/gradio_api/queue/data"),
        # Other spellings.
        ("POST", "//gradio_api/upload"),
        ("POST", "/gradio_api/queue/join/"),
        ("GET", "/%0A"),
    ],
)
def test_a_route_that_the_page_does_not_use_is_closed(send: Send, method: str, path: str) -> None:
    assert send(method, path, files={"video": b"x" * 5000}).status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/theme.css", "/favicon.ico", "/manifest.json", "/static/img/logo_nosize.svg", "/gradio_api/app_id"]
)
def test_a_route_that_the_page_uses_is_open(send: Send, path: str) -> None:
    assert send("GET", path).status_code == 200


@pytest.mark.parametrize("path", [__file__, "/etc/passwd", "http://example.org/x"])
def test_only_the_images_of_the_page_are_served(send: Send, path: str) -> None:
    assert send("GET", f"/gradio_api/file={path}").status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("localhost:8888", 200),  # through a tunnel
        ("LOCALHOST", 200),
        ("[::1]:7860", 200),
        ("demo.example:7860", 200),
        ("evil.example:7860", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost@evil.example", 400),
        ("evil.example:localhost", 400),
        ("[::2]:7860", 400),
        ("", 400),
    ],
)
def test_the_host_header_must_name_this_server(send: Send, host: str, status: int) -> None:
    assert send("GET", "/", headers={"Host": host}).status_code == status


def test_a_wildcard_address_accepts_any_host(classifier: Classifier, run: Run) -> None:
    assert server.accepted_hosts("0.0.0.0", "0.0.0.0") == ["*"]
    assert server.accepted_hosts("::", "::") == ["*"]
    assert server.accepted_hosts("MyHost", "192.0.2.1") == ["localhost", "127.0.0.1", "[::1]", "MyHost", "192.0.2.1"]
    assert set(server.accepted_hosts("fe80::1", "fe80::1")) == {"localhost", "127.0.0.1", "[::1]", "[fe80::1]"}

    async def status(app: Any) -> int:
        async with client(app) as session:
            code: int = (await session.get("/theme.css", headers={"Host": "any.example"})).status_code
            return code

    with server.make_server({"first": classifier}, None, ["*"]) as web:
        assert run(status(web.config.app)) == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://127.0.0.1:7860", 200),
        ("http://127.0.0.1:3000", 403),
        ("http://localhost:7860", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_other_sites_are_refused(send: Send, origin: str | None, status: int) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert send("POST", "/answer", content=b"x", headers=headers).status_code == status
    assert send("GET", "/theme.css", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/answer", MAX_BYTES, 200),
        ("/answer", MAX_BYTES + 1, 413),
        ("/gradio_api/queue/join", 20_000, 413),
        ("/gradio_api/queue/join", 1000, 422),  # passed on to Gradio, which expects JSON
        ("/gradio_api/process_recording", 60_000_000, 413),
    ],
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_has_a_limit(send: Send, path: str, size: int, status: int, *, is_chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 1_000_000):
            yield bytes(min(1_000_000, size - start))

    answer = send("POST", path, content=chunks() if is_chunked else bytes(size))
    is_closed_unread = is_chunked and path.endswith("recording")
    assert answer.status_code == (404 if is_closed_unread else status)


def test_uploads_are_decoded_one_at_a_time(app: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, most = threading.Lock(), 0
    running: list[bytes] = []

    def classify_upload(content: bytes, classifiers: object) -> list[str]:
        nonlocal most
        with lock:
            running.append(content)
            most = max(most, len(running))
        time.sleep(0.02)
        with lock:
            running.remove(content)
        return [content.decode()]

    async def answers() -> list[Any]:
        async with client(app) as session:
            posts = [session.post("/answer", content=str(number)) for number in range(8)]
            return [response.json() for response in await asyncio.gather(*posts)]

    monkeypatch.setattr(server, "classify_upload", classify_upload)
    assert run(answers()) == [[str(number)] for number in range(8)]
    assert most == 1


def test_few_uploads_are_in_memory_at_a_time(app: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, most = 0, 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        await asyncio.sleep(0.02)
        yield b"x"

    def classify_upload(content: bytes, classifiers: object) -> list[str]:
        nonlocal reading
        reading -= 1
        return []

    async def answers() -> None:
        async with client(app) as session:
            await asyncio.gather(*(session.post("/answer", content=content()) for _ in range(12)))

    monkeypatch.setattr(server, "classify_upload", classify_upload)
    run(answers())
    assert (reading, most) == (0, server.MAX_UPLOADS)


def test_an_upload_that_stalls_times_out(app: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def content(pause: Callable[[], Any]) -> AsyncIterator[bytes]:
        yield b"x"
        await pause()

    async def statuses() -> list[int]:
        async with client(app) as session:
            stuck = [content(asyncio.Event().wait) for _ in range(server.MAX_UPLOADS)]
            posts = [session.post("/answer", content=body) for body in [*stuck, content(partial(asyncio.sleep, 0))]]
            return [response.status_code for response in await asyncio.gather(*posts)]

    monkeypatch.setattr(server, "UPLOAD_SECONDS", 0.1)
    assert run(statuses()) == [408] * server.MAX_UPLOADS + [200]
