"""Files that are written wholly or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# Suffix of a file that is being written.
PARTIAL = ".partial"


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write to a temporary file beside `path`, which takes its place only if the block succeeds."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL, delete=False) as file:
        temporary = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())  # on the disk before it has the name, should the power fail
        except BaseException as error:
            temporary.unlink()
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)  # which a failed write does not tell
            raise
    temporary.chmod(0o644)  # not the private mode of temporary files: data are shared
    temporary.replace(path)


def remove_partial(folder: Path) -> None:
    """Remove what `replacing` left in a directory and below it when its process was killed."""
    for path in folder.rglob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)
