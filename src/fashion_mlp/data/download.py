"""Files that are verified before use, and fetched again from mirrors where they are missing or damaged."""

import hashlib
import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from filelock import FileLock
from tqdm import tqdm

from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
# How zlib calls the format.
GZIP = zlib.MAX_WBITS | 16


class BadSourceError(Exception):
    """A source that answered with something other than the file that was asked for."""


@dataclass(frozen=True)
class DataFile:
    """A file as it should lie on disk, unpacked."""

    name: str
    size: int
    sha256: str

    def is_intact(self, folder: Path) -> bool:
        """Return whether `folder` holds the file with this size and SHA-256."""
        path = folder / self.name
        return path.is_file() and path.stat().st_size == self.size and sha256_of(path) == self.sha256


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create `folder` and hold its lock, so that parallel runs and ranks wait for one another.

    Raises:
        UserError: the folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"data.root: {folder} cannot be written ({error.strerror}); point data.root at a folder that can"
        ) from error
    try:
        yield
    finally:
        lock.release()


@cache
def download_and_verify(folder: Path, files: tuple[DataFile, ...], mirrors: tuple[str, ...], timeout: float) -> None:
    """Make sure that `folder` holds `files`, intact; fetch what is missing or damaged. Once a process.

    Each file is unpacked from a `.gz` of its name, which is looked for in `folder` and then on `mirrors`, in
    order. A file that was placed by hand or by torchvision is thus used without any network.

    Args:
        folder: where the unpacked files lie; need not be writable if they are intact.
        files: what to look for.
        mirrors: URLs of folders, each with a trailing slash.
        timeout: seconds that a mirror may stay silent.

    Raises:
        UserError: no source has a file, or `folder` cannot be written.
    """
    if all(file.is_intact(folder) for file in files):
        return
    with locked(folder):
        for file in files:
            # Looked at again: another process may have fetched it while this one waited.
            if not file.is_intact(folder):
                if (folder / file.name).exists():
                    log.warning("%s is damaged (its SHA-256 is wrong): fetching it again", folder / file.name)
                _restore(folder, file, mirrors, timeout)


def _restore(folder: Path, file: DataFile, mirrors: Sequence[str], timeout: float) -> None:
    archive = folder / f"{file.name}.gz"
    sources = [archive.absolute().as_uri()] if archive.is_file() else []
    sources += [mirror + archive.name for mirror in mirrors]
    failures: list[str] = []
    for source in sources:
        try:
            content = _fetch(source, file, timeout)
            with atomic_write(folder / file.name) as target:
                target.write(content)
        except (OSError, HTTPException, zlib.error, ValueError, BadSourceError) as error:
            failures.append(f"{source}: {getattr(error, 'reason', None) or error or type(error).__name__}")
        else:
            for failure in failures:
                log.warning("passed over %s", failure)
            log.info("fetched %s from %s", file.name, source)
            return
    raise UserError(
        f"{folder / file.name} is missing or damaged and could not be fetched. Ways on:\n"
        f"- place the four .gz files of Fashion-MNIST in {folder.absolute()}\n"
        "- point data.root (or FASHION_MLP_DATA) at a folder that has them, or data.mirrors at a site that does\n"
        "- run on drawn garments, which need no network: data=synthetic\n"
        + "\n".join(f"Tried {failure}" for failure in failures or ["nothing: data.mirrors is empty"])
    )


def _fetch(source: str, file: DataFile, timeout: float) -> bytes:
    """Fetch a file and unpack it, however much it holds: read and unpack no more than the file can take.

    Raises:
        BadSourceError: it is another file.
    """
    archive, limit = bytearray(), 2 * file.size + CHUNK_BYTES
    with urlopen(source, timeout=timeout) as response:
        size = int(response.headers.get("Content-Length") or 0) or None
        # disable=None: no bar where stderr is not a terminal.
        with tqdm(desc=f"{file.name}.gz", total=size, unit="B", unit_scale=True, disable=None) as progress:
            while chunk := response.read(CHUNK_BYTES):
                archive += chunk
                progress.update(len(chunk))
                if len(archive) > limit:
                    raise BadSourceError("not the file that was expected (its archive does not end)")
    content = zlib.decompressobj(GZIP).decompress(archive, max_length=file.size + 1)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise BadSourceError("not the file that was expected (its SHA-256 is wrong)")
    return content
