"""The page as an ASGI application."""

from collections.abc import Mapping

import gradio as gr
from fastapi import FastAPI

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo.gate import Gate
from fashion_mlp.demo.page import STYLE, THEME, build


async def application(
    classifiers: Mapping[str, Classifier], test_data: Mapping[str, ImageDataModule], max_body: int
) -> FastAPI:
    """Return the page behind its gate, which lets requests of up to `max_body` bytes pass.

    It waits for nothing, but wants an event loop: where none runs, Gradio makes several and never closes them.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(Gate, max_bytes=max_body)
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
        max_file_size=0,
        theme=THEME,
        css_paths=STYLE,
    )
    return app
