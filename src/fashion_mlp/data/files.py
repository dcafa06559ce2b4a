"""Files that are verified before use, and fetched again from mirrors where they are missing or damaged."""

import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from io import RawIOBase
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

from filelock import FileLock
from tqdm import tqdm
from typing_extensions import override

from fashion_mlp.atomic import replacing
from fashion_mlp.errors import UserError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20


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
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


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
def ensure_files(folder: Path, files: tuple[DataFile, ...], mirrors: tuple[str, ...], timeout: float) -> None:
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
                _fetch(folder, file, mirrors, timeout)


def _fetch(folder: Path, file: DataFile, mirrors: Sequence[str], timeout: float) -> None:
    archive = f"{file.name}.gz"
    sources = [str(folder / archive)] if (folder / archive).is_file() else []
    sources += [mirror + archive for mirror in mirrors]
    failures: list[str] = []
    for source in sources:
        try:
            with _open(source, timeout) as stream, replacing(folder / file.name) as target:
                _unpack(stream, target, file)
        except (OSError, HTTPException, EOFError, zlib.error, ValueError, BadSourceError) as error:
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


@contextmanager
def _open(source: str, timeout: float) -> Iterator[IO[bytes]]:
    if "://" not in source:
        with Path(source).open("rb") as stream:
            yield stream
        return
    with urlopen(source, timeout=timeout) as response:
        size = int(response.headers.get("Content-Length") or 0) or None
        name = source.rpartition("/")[2]
        # disable=None: no bar where stderr is not a terminal.
        options: dict[str, Any] = {"unit": "B", "unit_scale": True, "desc": name, "disable": None}
        with tqdm.wrapattr(response, "read", total=size, **options) as stream:
            yield stream


class _Limited(RawIOBase):
    """A stream of so many bytes at most: an archive may go on for ever and unpack to nothing."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.stream = stream
        self.left = limit

    @override
    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            raise BadSourceError("not the file that was expected (its archive does not end)")
        content = self.stream.read(min(size, self.left) if size >= 0 else self.left)
        self.left -= len(content)
        return content


def _unpack(stream: IO[bytes], target: IO[bytes], file: DataFile) -> None:
    """Unpack a gzip stream, however much it holds: neither writing nor reading more than the file can take."""
    digest = hashlib.sha256()
    left = file.size
    with gzip.GzipFile(fileobj=_Limited(stream, 2 * file.size + CHUNK_BYTES)) as unpacked:
        while chunk := unpacked.read(min(CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            target.write(chunk)
    if left != 0 or digest.hexdigest() != file.sha256:
        raise BadSourceError("not the file that was expected (its SHA-256 is wrong)")
