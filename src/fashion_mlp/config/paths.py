"""Check paths that a user has typed."""

import os
from pathlib import Path


def missing_path(path: str, *, is_file: bool) -> str:
    """Return why a path is not that of an existing file or directory; an empty string if it is."""
    kind = "file" if is_file else "directory"
    try:
        if Path(path).is_file() if is_file else Path(path).is_dir():
            return ""
        return f"not a {kind}" if Path(path).exists() else f"no such {kind}"
    except (OSError, ValueError) as error:  # too long a name; a null character
        return f"not a valid path ({error})"


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
