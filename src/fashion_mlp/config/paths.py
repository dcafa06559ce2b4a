"""Checks of paths that a user has typed."""

import os
from collections.abc import Iterator
from pathlib import Path


def missing_path(key: str, value: str, *, is_file: bool) -> Iterator[str]:
    """Yield a line if a path is not that of an existing file or directory."""
    kind = "file" if is_file else "directory"
    path = Path(value)
    try:
        if not (path.is_file() if is_file else path.is_dir()):
            yield f"{key}={value}: not a {kind}" if path.exists() else f"{key}={value}: no such {kind}"
    except (OSError, ValueError) as error:  # too long a name; a null character
        yield f"{key}={value}: not a valid path ({error})"


def same_path(one: str | None, other: str | None) -> bool:
    """Return True if two paths lead to the same place, which need not exist."""
    try:
        return one is not None and other is not None and Path(one).resolve() == Path(other).resolve()
    except (OSError, ValueError, RuntimeError):  # too long a name; a null character; a loop of symbolic links
        return False


def find_obstacle(directory: Path) -> str:
    """Return why a directory cannot be created or written to; an empty string if it can."""
    try:
        existing = next(path for path in (directory, *directory.parents) if path.exists())
    except (OSError, ValueError) as error:  # too long a name; a null character
        return f"not a valid path ({error})"
    name = "" if existing == directory else f"{existing} "
    if not existing.is_dir():
        return f"{name}is a file. Expected a directory"
    return "" if os.access(existing, os.W_OK) else f"{name}is not writable. Choose another directory"
