"""Data files that are verified before each use, and restored from mirrors if they are missing or damaged."""

import gzip
import hashlib
import logging
import struct
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
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

    def is_archive(self, content: bytes) -> bool:
        """Return True if `content` is that of the archive."""
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == self.md5


def lock_directory(directory: Path) -> AbstractContextManager[object]:
    """Create `directory` and acquire its lock, so that concurrent runs and ranks wait for each other.

    Returns:
        A context manager that releases the lock.

    Raises:
        UserError: the directory cannot be created or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return FileLock(directory / ".lock").acquire()
    except OSError as error:
        raise UserError(
            f"data.root: {directory} cannot be written ({error.strerror}). Set data.root to a writable directory"
        ) from error


@cache
def download_and_verify(directory: Path, files: tuple[DataFile, ...], mirrors: tuple[str, ...], timeout: float) -> None:
    """Verify `files` and restore those that are missing or damaged, once per process.

    A file is unpacked from its archive in `directory`, or else from that of the first mirror that has it. Files that
    were placed there by the user or by torchvision therefore need no network.

    Args:
        directory: of the files and their archives; may be read-only if the files are intact.
        files: the files.
        mirrors: URLs of directories, each with a trailing slash, in order of preference.
        timeout: seconds to wait for data from a mirror.

    Raises:
        UserError: no source has a file, or `directory` cannot be written.
    """
    if all(file.is_intact(directory) for file in files):
        return
    with lock_directory(directory):
        for file in files:
            # Another process may have restored it while this one waited for the lock.
            if not file.is_intact(directory):
                if (directory / file.name).exists():
                    log.warning("%s is damaged: restoring it", directory / file.name)
                _restore(directory, file, mirrors, timeout)


def _restore(directory: Path, file: DataFile, mirrors: Sequence[str], timeout: float) -> None:
    archive = directory / f"{file.name}.gz"
    sources = [archive.absolute().as_uri()] if archive.is_file() else []
    sources += [mirror + archive.name for mirror in mirrors]
    failures: list[str] = []
    for source in sources:
        try:
            log.info("reading %s", source)
            with urlopen(source, timeout=timeout) as response:
                compressed = response.read(MAX_ARCHIVE_BYTES)
            if not file.is_archive(compressed):
                raise ValueError("not the expected file (wrong MD5)")
            with atomic_write(directory / file.name) as target:
                target.write(gzip.decompress(compressed))
            if not source.startswith("file:"):
                with atomic_write(archive) as target:
                    target.write(compressed)
        except (OSError, HTTPException, zlib.error, ValueError) as error:
            failures.append(f"{source}: {getattr(error, 'reason', None) or error or type(error).__name__}")
        else:
            for failure in failures:
                log.warning("skipped %s", failure)
            return
    raise UserError(
        f"{directory / file.name}: missing or damaged, and no source has it. One of these helps:\n"
        f"- place the .gz files of the data set in {directory.absolute()}\n"
        "- set data.root or FASHION_MLP_DATA to a directory that has it, or data.mirrors to a site that has it\n"
        "- train on synthetic images, which need no network: data=synthetic\n"
        + "\n".join(f"Tried {failure}" for failure in failures or ["nothing: data.mirrors is empty"])
    )
