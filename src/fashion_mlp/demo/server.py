"""The page served: an address, a folder that is gone afterwards, and nothing that asks another machine."""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import uvicorn

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo.answers import MAX_BYTES
from fashion_mlp.errors import UserError

FIRST_PORT, PORTS = 7860, 100
"""Where a free port is looked for: Gradio's habit."""
MAX_BODY = MAX_BYTES * 4 // 3 + 10_000
"""Bytes of a request: a file in base64, and room for what is around it."""


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens, on the first free port near 7860 if none is named.

    Raises:
        UserError: it cannot.
    """
    for number in [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            return socket.create_server((host, number))
        except OSError as error:
            problem = f"--host {host} --port {number}: cannot listen there ({error.strerror or error})"
    raise UserError(problem)


@contextmanager
def server(classifiers: Mapping[str, Classifier], test_data: Mapping[str, ImageDataModule]) -> Iterator[uvicorn.Server]:
    """Build the page, and yield what serves it once its `run` is called; afterwards what Gradio wrote is gone.

    Args:
        classifiers: by the name that the page shows.
        test_data: those classifiers' test images, in memory, by the same names; may lack some, or all.
    """
    with TemporaryDirectory(prefix="fashion-mlp-demo-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        # Read when Gradio is imported.
        from fashion_mlp.demo.application import application

        app = asyncio.run(application(classifiers, test_data, MAX_BODY))
        yield uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
