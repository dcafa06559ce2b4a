"""Data files that are verified before each use, and restored from mirrors if they are missing or damaged."""

import gzip
import hashlib
import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from socket import gaierror
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock

from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError

log = logging.getLogger(__name__)

# More than the largest archive, 26 MB of Fashion-MNIST; what a mirror sends beyond it is not read.
MAX_ARCHIVE_BYTES = 64 << 20


@dataclass(frozen=True)
class DataFile:
    """A data file, and its archive `NAME.gz` in the same directory.

    Args:
        name: name of the file.
        md5: MD5 of the archive, as in torchvision's list of resources.
        sha256: SHA-256 of the file. If empty, the file is compared with its archive.
    """

    name: str
    md5: str
    sha256: str = ""

    def is_intact(self, directory: Path) -> bool:
        """Return True if `directory` holds the file with the right content."""
        path, archive = directory / self.name, directory / f"{self.name}.gz"
        if not path.is_file() or not (self.sha256 or archive.is_file()):
            return False
        content = path.read_bytes()
        if self.sha256:
            return hashlib.sha256(content).hexdigest() == self.sha256
        compressed = archive.read_bytes()
        # A gzip file ends with the CRC-32 and the size of its content.
        return self.is_archive(compressed) and compressed[-8:] == struct.pack("<II", zlib.crc32(content), len(content))

    def is_available(self, directory: Path) -> bool:
        """Return True if `directory` holds the file or its archive with the right content."""
        archive = directory / f"{self.name}.gz"
        return self.is_intact(directory) or (archive.is_file() and self.is_archive(archive.read_bytes()))

    def is_archive(self, content: bytes) -> bool:
        """Return True if `content` is that of the archive."""
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == self.md5


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Create `directory` and lock it within the block, so that concurrent runs and ranks wait for each other.

    A directory that is still empty at the end is removed.

    Raises:
        UserError: the directory cannot be created or written.
    """
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    lock = FileLock(directory / ".lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"data.root: {directory} cannot be written ({error.strerror}). Set data.root to a writable directory"
        ) from error
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # another process may have removed it, or written a file
            if all(path.name == ".lock" for path in directory.iterdir()):
                (directory / ".lock").unlink()
                for path in created:
                    path.rmdir()


@cache
def download_and_verify(directory: Path, files: tuple[DataFile, ...], mirrors: tuple[str, ...], timeout: float) -> None:
    """Verify `files` and restore those that are missing or damaged, once per process.

    A file is unpacked from its archive in `directory`, or else from that of the first mirror that has it. Files that
    were placed there by the user or by torchvision therefore need no network.

    Args:
        directory: `ROOT/NAME/raw`, of the files and their archives; may be read-only if the files are intact.
        files: the files.
        mirrors: URLs of directories, each with a trailing slash, in order of preference.
        timeout: seconds to wait for data from a mirror.

    Raises:
        UserError: no source has a file, `directory` cannot be written, or the files are elsewhere in `ROOT`.
    """
    if all(file.is_intact(directory) for file in files):
        return
    _check_root(directory, files)
    with lock_directory(directory):
        for file in files:
            # Another process may have restored it while this one waited for the lock.
            if not file.is_intact(directory):
                if (directory / file.name).exists():
                    log.warning("%s is damaged: restoring it", directory / file.name)
                _restore(directory, file, mirrors, timeout)


def _check_root(directory: Path, files: Sequence[DataFile]) -> None:
    """Refuse a root that holds the files itself, in `ROOT`, `ROOT/raw` or `ROOT/NAME`."""
    root, name = directory.parents[1], directory.parent.name
    for actual in (root, root / directory.name, root / name):
        if any(file.is_available(actual) for file in files):
            parent, *layout = actual.absolute().parents[1], *actual.absolute().parts[-2:]
            is_valid = layout == [name, directory.name]
            remedy = f"Type data.root={parent}" if is_valid else f"Move them to {directory}"
            raise UserError(f"data.root={root}: the files of {name} are in {actual}. {remedy}")


def _restore(directory: Path, file: DataFile, mirrors: Sequence[str], timeout: float) -> None:
    archive = directory / f"{file.name}.gz"
    sources = [archive.absolute().as_uri()] if archive.is_file() else []
    sources += [mirror + archive.name for mirror in mirrors]
    failures: dict[str, str] = {}
    for source in sources:
        try:
            log.info("reading %s", source)
            with urlopen(source, timeout=timeout) as response:
                compressed = response.read(MAX_ARCHIVE_BYTES)
            if not file.is_archive(compressed):
                is_page = compressed.lstrip()[:1] == b"<"
                raise ValueError("a web page instead of the file" if is_page else "wrong content, by its MD5")
            directory.mkdir(parents=True, exist_ok=True)  # a process that failed may have removed it
            with atomic_write(directory / file.name) as target:
                target.write(gzip.decompress(compressed))
            if not source.startswith("file:"):
                with atomic_write(archive) as target:
                    target.write(compressed)
        except (OSError, HTTPException, zlib.error, ValueError) as error:
            failures[source] = _reason(error)
        else:
            for failure in failures.items():
                log.warning("skipped %s: %s", *failure)
            return
    raise UserError(*_missing_data(directory, file, failures))


def _reason(error: Exception) -> str:
    """Return why a source could not be read, in a few words, which some errors do not have."""
    if isinstance(error, HTTPError):
        return f"HTTP status {error.code} {error.reason}".strip()
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, gaierror):
        return "host not found; is there a network?"
    text = getattr(cause, "strerror", None) or str(cause)
    return type(error).__name__ if text in ("", "[Errno None] None") else text


def _missing_data(directory: Path, file: DataFile, failures: dict[str, str]) -> Iterator[str]:
    """Yield the lines of an error message: the problem, and what to type."""
    reasons = [f"{urlsplit(source).netloc or Path(source).name}: {reason}" for source, reason in failures.items()]
    if len(set(failures.values())) == 1:  # such as no network
        reasons = list(failures.values())[:1]
    state, name = "damaged" if (directory / file.name).exists() else "missing", directory.parent.name
    yield (
        f"data.root={directory.parents[1]}: {name} is {state}, and could not be downloaded "
        f"({'; '.join(reasons) or 'data.mirrors is empty'})"
    )
    yield f"place its .gz files in {directory.absolute()}, or type data.root=DIRECTORY or data.mirrors=[URL]"
    yield "without a network: data=synthetic trains on drawn garments"
