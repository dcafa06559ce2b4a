"""Data files that are verified before each use, and restored from mirrors if they are missing or damaged."""

import gzip
import hashlib
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock

from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import remove_written

log = logging.getLogger(__name__)

# Largest download, which no mirror can exceed. The largest archive, of Fashion-MNIST, has 26 MB.
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
        path = directory / self.name
        content = path.read_bytes() if path.is_file() else b""
        if self.sha256:
            return hashlib.sha256(content).hexdigest() == self.sha256
        # A gzip file ends with the CRC-32 and the size of its content.
        return self.read_archive(directory)[-8:] == struct.pack("<II", zlib.crc32(content), len(content))

    def read_archive(self, directory: Path) -> bytes:
        """Return the archive in `directory`; nothing if it is missing or damaged."""
        path = directory / f"{self.name}.gz"
        content = path.read_bytes() if path.is_file() else b""
        return content if self.is_archive(content) else b""

    def is_archive(self, content: bytes) -> bool:
        """Return True if `content` is that of the archive."""
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == self.md5


def data_root(root: str | Path | None) -> Path:
    """Return the directory of all data sets: `root`, or else that of `FASHION_MLP_DATA`, or else `data`."""
    return Path(root or os.environ.get("FASHION_MLP_DATA", "data")).expanduser()


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Create `directory` and lock it within the block, so that concurrent runs and ranks wait for each other.

    A directory that is still empty at the end is removed.

    Raises:
        UserError: the directory cannot be created or written.
    """
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    lock = directory / ".lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        problem = f"{directory} cannot be written ({error.strerror})"
        raise UserError(f"data.root: {problem}. Set data.root to a writable directory") from error
    try:
        with FileLock(lock):
            yield
    finally:
        with suppress(OSError):  # another process may have removed it, or written a file
            if list(directory.iterdir()) == [lock]:
                remove_written([lock, *created])


@cache
def download_and_verify(directory: Path, files: tuple[DataFile, ...], mirrors: tuple[str, ...], timeout: float) -> None:
    """Verify `files` and restore those that are missing or damaged, once per process.

    A file is unpacked from its archive in `directory`. The archive is downloaded from the first mirror that has it,
    unless the user or torchvision has placed it there.

    Args:
        directory: `ROOT/NAME/raw`, of the files and their archives; may be read-only if the files are intact.
        files: the files.
        mirrors: URLs of directories, each with a trailing slash, in order of preference.
        timeout: seconds to wait for data from a mirror.

    Raises:
        UserError: no source has a file, `directory` cannot be written, or `ROOT` is `NAME` or `NAME/raw`.
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
    """Refuse a root that is `NAME` or `NAME/raw` with the files in it."""
    root, name = directory.parents[1].absolute(), directory.parent.name
    for parent in root.parents[:2]:
        actual = parent / name / directory.name
        holds_files = any(file.is_intact(actual) or file.read_archive(actual) for file in files)
        if holds_files and root in (actual, actual.parent):
            raise UserError(f"data.root={root}: the files of {name} are in {actual}. Type data.root={parent}")


def _restore(directory: Path, file: DataFile, mirrors: Sequence[str], timeout: float) -> None:
    archive = file.read_archive(directory)
    if not archive:
        archive = _download(directory, file, mirrors, timeout)
        directory.mkdir(parents=True, exist_ok=True)  # a process that failed may have removed it
        with atomic_write(directory / f"{file.name}.gz") as target:
            target.write(archive)
    with atomic_write(directory / file.name) as target:
        target.write(gzip.decompress(archive))


def _download(directory: Path, file: DataFile, mirrors: Sequence[str], timeout: float) -> bytes:
    """Return the archive of a file from the first mirror that has it.

    Raises:
        UserError: no mirror has it.
    """
    failures: list[str] = []
    for mirror in mirrors:
        url = f"{mirror}{file.name}.gz"
        log.info("reading %s", url)
        try:
            with urlopen(url, timeout=timeout) as response:
                content: bytes = response.read(MAX_ARCHIVE_BYTES)
            if file.is_archive(content):
                return content
            is_page = content.lstrip()[:1] == b"<"
            reason = "a web page instead of the file" if is_page else "wrong content, by its MD5"
        except (OSError, HTTPException, ValueError) as error:
            # The cause of a `URLError` is clearer than the error; an `HTTPError` has the status.
            text = str(error if isinstance(error, HTTPError) else getattr(error, "reason", error))
            reason = text or type(error).__name__
        log.warning("skipped %s: %s", url, reason)
        failures.append(f"{urlsplit(url).netloc or mirror}: {reason}")
    state, name = "damaged" if (directory / file.name).exists() else "missing", directory.parent.name
    raise UserError(
        f"data.root={directory.parents[1]}: {name} is {state}, and could not be downloaded "
        f"({'; '.join(failures) or 'data.mirrors is empty'})",
        f"place its .gz files in {directory.absolute()}, or type data.root=DIRECTORY or data.mirrors=[URL]",
        "without a network: data=synthetic trains on drawn garments",
    )
