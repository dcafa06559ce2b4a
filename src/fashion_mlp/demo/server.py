"""The page served: an address, a folder that is gone afterwards, and nothing that asks another machine."""

import asyncio
import errno
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from tempfile import TemporaryDirectory

import uvicorn

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.runtime.errors import UserError

# Where a free port is looked for: Gradio's habit.
FIRST_PORT, PORTS = 7860, 100
LOCAL = ("localhost", "127.0.0.1", "::1")

GRADIO = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # which would be sent to its makers
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",  # those for /monitoring, kept of 10,000 answers by default
}


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens, on the first free port near 7860 if none is named.

    Raises:
        UserError: it cannot.
    """
    if not host.strip():  # which would be every address of this machine
        raise UserError("--host: is empty; type --host 127.0.0.1 for this machine only, 0.0.0.0 for every address")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            return socket.create_server((host, number), family=family)
        except OSError as error:
            reason = str(error.strerror).partition(" (while")[0]  # socket goes on to name the last port tried
            if error.errno != errno.EADDRINUSE:
                break
    where = f"port {port}" if port else f"any port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
    raise UserError(f"demo: cannot listen on {host}, {where} ({reason}); choose another --host or --port")


def accepted_hosts(host: str, address: str) -> set[str] | None:
    """Return the names to accept in the Host header, None for any.

    Args:
        host: what the user asked for.
        address: the IP address that it stands for; a wildcard accepts any name, since this machine may have many.
    """
    if ip_address(address).is_unspecified:
        return None
    return {f"[{name}]" if ":" in name else name.lower() for name in (*LOCAL, host, address)}


@contextmanager
def server(
    classifiers: Mapping[str, Classifier], test_data: Mapping[str, ImageDataModule], hosts: Collection[str] | None
) -> Iterator[uvicorn.Server]:
    """Build the page, and yield what serves it once its `run` is called; afterwards what Gradio wrote is gone.

    Args:
        classifiers: by the name that the page shows.
        test_data: those classifiers' test images, in memory, by the same names; may lack some, or all.
        hosts: accepted names in the Host header; None accepts any.
    """
    with TemporaryDirectory(prefix="fashion-mlp-demo-") as folder:
        os.environ |= GRADIO | {"GRADIO_TEMP_DIR": folder}
        # Imported only now, since Gradio reads them when it is imported.
        from fashion_mlp.demo.application import application

        app = asyncio.run(application(classifiers, test_data, hosts))
        yield uvicorn.Server(uvicorn.Config(app, ws="none", log_level="warning", timeout_graceful_shutdown=2))
