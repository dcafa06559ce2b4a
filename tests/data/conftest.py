"""A local download site with two small files."""

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
    """A local web server for a directory, and the paths that were requested."""

    directory: Path
    url: str = ""
    requests: list[str] = field(default_factory=list)
    # URL to which each request is redirected.
    redirect: str = ""


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

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site.directory)))
    site.url = f"http://127.0.0.1:{server.server_address[1]}/"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Serve `tmp_path/site`, an empty directory."""
    site = Site(tmp_path / "site")
    site.directory.mkdir()
    server = serve(site)
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture
def files(site: Site) -> tuple[DataFile, ...]:
    """Return two files whose archives the site has; the SHA-256 of the second is not known."""
    first, second = b"first " * 5000, b"second " * 3000
    archives = {"one": gzip.compress(first), "two": gzip.compress(second)}
    for name, archive in archives.items():
        (site.directory / f"{name}.gz").write_bytes(archive)
    md5 = {name: hashlib.md5(archive).hexdigest() for name, archive in archives.items()}
    return DataFile("one", md5["one"], hashlib.sha256(first).hexdigest()), DataFile("two", md5["two"])
