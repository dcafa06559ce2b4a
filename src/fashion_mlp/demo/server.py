"""Serve the page: an address, limits on requests, and a temporary directory."""

import asyncio
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from tempfile import TemporaryDirectory

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send
from uvicorn import Config, Server

from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo.cards import Classifiers, render_answer
from fashion_mlp.demo.page import MAX_BYTES, STYLE, THEME, build_page
from fashion_mlp.runtime.errors import UserError

LOCAL = ("localhost", "127.0.0.1", "::1")
# The routes that the page uses. Gradio has many more: for uploads, recordings, direct calls, monitoring, proxying.
ROUTES = re.compile(
    r"GET /|GET /(assets|static)/.+|GET /(favicon\.ico|manifest\.json|theme\.css)|POST /answer"
    r"|POST /gradio_api/queue/join|GET /gradio_api/(queue/data|app_id|file=.+)"
)
# Size limit of a Gradio event, which holds the index of a test image.
MAX_EVENT_BYTES = 10_000
# Image files that are received or wait to be decoded at a time; others wait in the browser.
MAX_UPLOADS = 4
# Time limit of an upload, so that a lost connection does not block others.
UPLOAD_SECONDS = 60
# Sessions of which Gradio keeps the state, about 50 kB each.
MAX_SESSIONS = 100


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a port, or on a free one for 0.

    Raises:
        UserError: the address or the port cannot be used.
    """
    if not host.strip():  # would be every address of this machine
        raise UserError("--host: is empty. Type --host 127.0.0.1 for this machine only, 0.0.0.0 for every address")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        problem = f"cannot listen on {host}, port {port} ({error.strerror})"
        raise UserError(f"demo: {problem}. Choose another --host or --port") from error


def accepted_hosts(host: str, address: str) -> list[str]:
    """Return the names to accept in the Host header, against DNS rebinding.

    Args:
        host: the name or address that the user chose.
        address: its IP address. A wildcard accepts any name, since this machine may have many.
    """
    if ip_address(address).is_unspecified:
        return ["*"]
    return [f"[{name}]" if ":" in name else name for name in (*LOCAL, host, address)]


class Guard(TrustedHostMiddleware):
    """Middleware that refuses a request before its body is read, unless the page itself could have sent it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self._refusal(scope)
        await (refusal or super().__call__)(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        if not ROUTES.fullmatch(f"{scope['method']} {scope['path']}"):
            return PlainTextResponse("Not found.", 404)
        return None


async def make_app(classifiers: Classifiers, test_data: ImageDataModule | None, hosts: list[str]) -> FastAPI:
    """Return the page and the route that classifies an image file, with limits on requests.

    Image files do not pass through Gradio, which would write them to disk. They are decoded one at a time, since a
    small file can take more than 1 GB. The function is async, since without a running event loop Gradio creates some
    that it does not close.
    """
    app = FastAPI(openapi_url=None, max_body_size=MAX_EVENT_BYTES)
    app.add_middleware(Guard, allowed_hosts=hosts, www_redirect=False)
    uploads, decoding = asyncio.Semaphore(MAX_UPLOADS), asyncio.Semaphore(1)

    @app.post("/answer", max_body_size=MAX_BYTES)
    async def answer(request: Request) -> Response:
        async with uploads:
            try:
                content = await asyncio.wait_for(request.body(), UPLOAD_SECONDS)
            except (ClientDisconnect, asyncio.TimeoutError):
                return Response(status_code=408)
            async with decoding:
                return JSONResponse(await run_in_threadpool(render_answer, content, classifiers))

    page = build_page(classifiers, test_data)
    page.state_session_capacity = MAX_SESSIONS
    options = {"run_history": False, "ssr_mode": False, "show_error": False}
    gr.mount_gradio_app(app, page, path="/", theme=THEME, css_paths=STYLE, **options)
    return app


@contextmanager
def make_server(classifiers: Classifiers, test_data: ImageDataModule | None, hosts: list[str]) -> Iterator[Server]:
    """Build the page and yield its server; afterwards remove the files that Gradio wrote.

    Args:
        classifiers: by the names that the page shows.
        test_data: test images to choose from, in memory.
        hosts: accepted names in the Host header; "*" accepts any.
    """
    with TemporaryDirectory(prefix="fashion-mlp-demo-") as directory:
        os.environ["GRADIO_TEMP_DIR"] = directory
        app = asyncio.run(make_app(classifiers, test_data, hosts))
        yield Server(Config(app, ws="none", log_level="warning", timeout_graceful_shutdown=2))
