"""A download site of our own, for small files of our own."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fashion_mlp.data.download import DataFile


@dataclass
class Site:
    """A local web server over a folder, and what was asked of it."""

    folder: Path
    url: str = ""
    requests: list[str] = field(default_factory=list)
    redirect: str = ""
    """Where every request is sent on to."""


def serve(site: Site) -> ThreadingHTTPServer:
    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append(self.path)
            if site.redirect:
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site.folder)))
    site.url = f"http://127.0.0.1:{server.server_address[1]}/"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Serve `tmp_path/site`, which is empty at first."""
    site = Site(tmp_path / "site")
    site.folder.mkdir()
    server = serve(site)
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture
def files(site: Site) -> tuple[DataFile, ...]:
    """Two files, whose archives the site holds."""
    contents = {"one": b"first " * 5000, "two": b"second " * 3000}
    for name, content in contents.items():
        (site.folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return tuple(DataFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items())
