"""Tests of the limits of the demo's server: routes, hosts, origins, body sizes and concurrent uploads."""

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fashion_mlp.data import ImageDataModule
from fashion_mlp.inference.photo.classifier import PhotoClassifier

httpx = pytest.importorskip("httpx", reason="needs the extra [demo]")

RunCoroutine = Callable[[Coroutine[Any, Any, Any]], Any]
Send = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> ModuleType:
    """Return `fashion_mlp.demo.server`, which is imported here since importing Gradio takes seconds."""
    pytest.importorskip("gradio", reason="needs the extra [demo]")
    return import_module("fashion_mlp.demo.server")


@pytest.fixture(scope="module")
def app(server: ModuleType, classifier: PhotoClassifier, data: ImageDataModule) -> Iterator[Any]:
    with server.make_server({"first": classifier}, data, ["localhost", "127.0.0.1", "[::1]", "demo.example"]) as web:
        yield web.config.app


@pytest.fixture(scope="module")
def run() -> Iterator[RunCoroutine]:
    """Return a function that runs a coroutine in an event loop that all tests share, as in a server."""
    with closing(asyncio.new_event_loop()) as loop:
        yield loop.run_until_complete


def client(app: Any) -> Any:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:7860")


@pytest.fixture
def send(app: Any, run: RunCoroutine) -> Send:
    """Return a function that sends one request and returns the response."""

    async def request(method: str, path: str, **options: Any) -> Any:
        async with client(app) as session:
            return await session.request(method, path, **options)

    return lambda *args, **options: run(request(*args, **options))


@pytest.fixture(autouse=True)
def _no_temporary_files() -> Iterator[None]:
    """Check that a test leaves no temporary files."""
    directory = Path(tempfile.gettempdir())
    before = sorted(directory.rglob("*"))
    yield
    assert sorted(directory.rglob("*")) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/api/predict"),
        ("POST", "/gradio_api/call/predict"),
        ("POST", "/gradio_api/call/v2/predict"),
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
def test_route_that_the_page_does_not_use_is_not_found(send: Send, method: str, path: str) -> None:
    assert send(method, path, files={"video": b"x" * 5000}).status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/theme.css", "/favicon.ico", "/manifest.json", "/static/img/logo_nosize.svg", "/gradio_api/app_id"]
)
def test_route_that_the_page_uses_is_served(send: Send, path: str) -> None:
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
def test_host_header_must_name_this_server(send: Send, host: str, status: int) -> None:
    assert send("GET", "/", headers={"Host": host}).status_code == status


def test_wildcard_address_accepts_any_host(server: ModuleType, classifier: PhotoClassifier, run: RunCoroutine) -> None:
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
def test_requests_from_other_origins_are_refused(send: Send, origin: str | None, status: int) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert send("POST", "/answer", content=b"x", headers=headers).status_code == status
    assert send("GET", "/theme.css", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/answer", 20_000_000, 200),
        ("/answer", 20_000_001, 413),
        ("/gradio_api/queue/join", 20_000, 413),
        ("/gradio_api/queue/join", 1000, 422),  # passed on to Gradio, which expects JSON
        ("/gradio_api/process_recording", 60_000_000, 413),
    ],
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_size_of_a_body_is_limited(send: Send, path: str, size: int, status: int, *, is_chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 1_000_000):
            yield bytes(min(1_000_000, size - start))

    response = send("POST", path, content=chunks() if is_chunked else bytes(size))
    is_refused_unread = is_chunked and path.endswith("recording")
    assert response.status_code == (404 if is_refused_unread else status)


def test_uploads_are_decoded_one_at_a_time(
    server: ModuleType, app: Any, run: RunCoroutine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, max_running = threading.Lock(), 0
    running: list[bytes] = []

    def render_answer(content: bytes, classifiers: object) -> list[str]:
        nonlocal max_running
        with lock:
            running.append(content)
            max_running = max(max_running, len(running))
        time.sleep(0.02)
        with lock:
            running.remove(content)
        return [content.decode()]

    async def upload_all() -> list[Any]:
        async with client(app) as session:
            posts = [session.post("/answer", content=str(number)) for number in range(8)]
            return [response.json() for response in await asyncio.gather(*posts)]

    monkeypatch.setattr(server, "render_answer", render_answer)
    assert run(upload_all()) == [[str(number)] for number in range(8)]
    assert max_running == 1


def test_number_of_uploads_in_memory_is_limited(
    server: ModuleType, app: Any, run: RunCoroutine, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_reading, max_reading = 0, 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal num_reading, max_reading
        num_reading += 1
        max_reading = max(max_reading, num_reading)
        await asyncio.sleep(0.02)
        yield b"x"

    def render_answer(content: bytes, classifiers: object) -> list[str]:
        nonlocal num_reading
        num_reading -= 1
        return []

    async def upload_all() -> None:
        async with client(app) as session:
            await asyncio.gather(*(session.post("/answer", content=content()) for _ in range(12)))

    monkeypatch.setattr(server, "render_answer", render_answer)
    run(upload_all())
    assert (num_reading, max_reading) == (0, server.MAX_UPLOADS)


def test_stalled_upload_times_out(
    server: ModuleType, app: Any, run: RunCoroutine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def content(pause: Callable[[], Any]) -> AsyncIterator[bytes]:
        yield b"x"
        await pause()

    async def statuses() -> list[int]:
        async with client(app) as session:
            stalled = [content(asyncio.Event().wait) for _ in range(server.MAX_UPLOADS)]
            posts = [session.post("/answer", content=body) for body in [*stalled, content(partial(asyncio.sleep, 0))]]
            return [response.status_code for response in await asyncio.gather(*posts)]

    monkeypatch.setattr(server, "UPLOAD_SECONDS", 0.1)
    assert run(statuses()) == [408] * server.MAX_UPLOADS + [200]
