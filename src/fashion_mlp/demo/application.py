"""The page as an ASGI application."""

from collections.abc import Mapping

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo.answers import MAX_BYTES
from fashion_mlp.demo.page import STYLE, THEME, build

MAX_BODY = MAX_BYTES * 4 // 3 + 10_000
"""Bytes of a request: a file in base64, and room for what is around it."""


async def application(classifiers: Mapping[str, Classifier], test_data: Mapping[str, ImageDataModule]) -> FastAPI:
    """Return the page, with limits to what may come in.

    It waits for nothing, but wants an event loop: where none runs, Gradio makes several and never closes them.
    """
    app = FastAPI(openapi_url=None, max_body_size=MAX_BODY)

    # Gradio's own way in, which writes files; the page hands over data: URLs.
    @app.post("/gradio_api/upload{rest:path}")
    def refuse() -> PlainTextResponse:
        return PlainTextResponse("Files are not stored here.", 404)

    gr.mount_gradio_app(
        app,
        build(classifiers, test_data),
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
