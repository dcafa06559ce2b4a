"""Files that are written completely or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# The suffix of a temporary file.
PARTIAL = ".partial"


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Write to a temporary file in the same directory; it replaces `path` if the block succeeds."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL, delete=False) as file:
        temporary = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power failure could leave an empty file under the final name
        except BaseException as error:
            temporary.unlink()
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)  # a failed write does not name its file
            raise
    temporary.chmod(0o644)  # temporary files are private, but data are shared
    temporary.replace(path)


def remove_partial(directory: Path) -> None:
    """Remove the temporary files that killed processes left in a directory and its subdirectories."""
    for path in directory.rglob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)
