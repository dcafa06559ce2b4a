"""Fragments of error messages: values, suggestions, and why a path cannot be used."""

# ruff: noqa: PTH100, PTH110, PTH111, PTH112, PTH113, PTH121  (a path of a wrong form is no error for os.path)
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

# A longer list of names is not shown.
MAX_NAMES = 16


def format_value(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{format_value(item)}' for key, item in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def format_count(number: int, noun: str) -> str:
    """Return a number with a noun, such as "1 epoch" or "2 epochs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return a suggestion of the most similar name, followed by all names if they are few."""
    others = [other for other in names if other != name and not other.startswith("_")]
    similar = get_close_matches(name, others, n=1)
    suggestion = f"; did you mean {prefix}{similar[0]}?" if similar else ""
    return suggestion + (f" (available: {', '.join(sorted(others))})" if 0 < len(others) <= MAX_NAMES else "")


def missing_path(path: str, *, is_file: bool) -> str:
    """Return why a path is not that of an existing file or directory; an empty string if it is."""
    kind, path = "file" if is_file else "directory", os.path.expanduser(path)
    if os.path.isfile(path) if is_file else os.path.isdir(path):
        return ""
    return f"not a {kind}" if os.path.exists(path) else f"no such {kind}"


def is_same_path(one: str, other: str) -> bool:
    """Return True if two paths are equal, or lead to the same file or directory."""
    one, other = (os.path.abspath(os.path.expanduser(path)) for path in (one, other))
    return one == other or (os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))


def find_obstacle(directory: Path) -> str:
    """Return why a directory cannot be created or written to; an empty string if it can."""
    try:
        directory = directory.expanduser()
        existing = next(path for path in (directory, *directory.parents) if path.exists())
    except (OSError, ValueError, RuntimeError) as error:  # too long a name; a null character; no home directory
        return f"not a valid path ({error})"
    name = "" if existing == directory else f"{existing} "
    if not existing.is_dir():
        return f"{name}is a file. Expected a directory"
    return "" if os.access(existing, os.W_OK) else f"{name}is not writable. Choose another directory"
