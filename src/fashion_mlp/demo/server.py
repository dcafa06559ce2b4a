"""The page served: an address, a folder that is gone afterwards, and nothing that asks another machine."""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import uvicorn
from typing_extensions import override

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.errors import UserError

FIRST_PORT, PORTS = 7860, 100
"""Where a free port is looked for: Gradio's habit."""

GRADIO = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # which would be sent to its makers
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",  # those for /monitoring, kept of 10,000 answers by default
}


class Server(uvicorn.Server):
    """Serves Gradio's application, mounted last, and ends although pages are open, which hold a connection each."""

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.routes[-1].app.stop_event.set()  # type: ignore[union-attr]  # a FastAPI with a Mount
        await super().shutdown(sockets)


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
def server(classifiers: Mapping[str, Classifier], test_data: Mapping[str, ImageDataModule]) -> Iterator[Server]:
    """Build the page, and yield what serves it once its `run` is called; afterwards what Gradio wrote is gone.

    Args:
        classifiers: by the name that the page shows.
        test_data: those classifiers' test images, in memory, by the same names; may lack some, or all.
    """
    with TemporaryDirectory(prefix="fashion-mlp-demo-") as folder:
        os.environ |= GRADIO | {"GRADIO_TEMP_DIR": folder}
        # Imported only now, since Gradio reads them when it is imported.
        from fashion_mlp.demo.application import application

        app = asyncio.run(application(classifiers, test_data))
        yield Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
