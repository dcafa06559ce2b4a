"""The page as an ASGI application."""

import asyncio
from collections.abc import Collection, Mapping

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo.answers import MAX_BYTES
from fashion_mlp.demo.guard import Guard
from fashion_mlp.demo.page import STYLE, THEME, build
from fashion_mlp.demo.results_panel import render_file

# Limit for the body of a Gradio event: the number of a test image, and what surrounds it.
MAX_EVENT_BYTES = 10_000
# Picture files that are read at a time, or wait to be decoded; further ones wait in the browser.
MAX_UPLOADS = 4
# Limit for reading one, so that a connection that was lost makes room.
UPLOAD_SECONDS = 60
# Sessions of which Gradio keeps the state: a copy of the page's configuration, about 50 kB.
MAX_SESSIONS = 100


async def application(
    classifiers: Mapping[str, Classifier], test_data: Mapping[str, ImageDataModule], hosts: Collection[str] | None
) -> FastAPI:
    """Return the page, and the route that answers to a picture file, with limits on what may come in.

    Picture files do not pass through Gradio, which keeps the last value of each session's components in memory. They
    are decoded one at a time, since a small file can take more than 1 GB.

    This function is async since Gradio creates event loops that it never closes if none is running.

    Args:
        classifiers: by the name that the page shows.
        test_data: those classifiers' test images, in memory, by the same names; may lack some, or all.
        hosts: accepted names in the Host header; None accepts any.
    """
    app = FastAPI(openapi_url=None, max_body_size=MAX_EVENT_BYTES)
    app.add_middleware(Guard, hosts=hosts)
    uploads, decoding = asyncio.Semaphore(MAX_UPLOADS), asyncio.Semaphore(1)

    @app.post("/answer", max_body_size=MAX_BYTES)
    async def answer(request: Request) -> Response:
        async with uploads:
            try:
                content = await asyncio.wait_for(request.body(), UPLOAD_SECONDS)
            except (ClientDisconnect, asyncio.TimeoutError):
                return Response(status_code=408)
            async with decoding:
                return JSONResponse(await run_in_threadpool(render_file, content, classifiers))

    page = build(classifiers, test_data)
    page.state_session_capacity = MAX_SESSIONS
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
        enable_monitoring=False,
        theme=THEME,
        css_paths=STYLE,
    )
    return app
