"""Format values and suggestions in error messages."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

# A longer list of names is not shown.
MAX_NAMES = 13


def format_value(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if isinstance(value, DictConfig | ListConfig):
        value = OmegaConf.to_container(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{format_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, float):
        return f"{value:g}"
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
