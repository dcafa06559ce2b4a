"""Parts of error messages: values as they are typed, and the names that are nearest to a mistyped one."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

# A longer list of names is not shown.
MANY_NAMES = 13


def format_value(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if isinstance(value, list | tuple | ListConfig):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, DictConfig):
        value = OmegaConf.to_container(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{format_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return a suggestion of the name that is most similar, and all names if there are few; empty if there are none."""
    others = [other for other in names if other != name and not other.startswith("_")]
    similar = get_close_matches(name, others, n=1)
    suggestion = f"; did you mean {prefix}{similar[0]}?" if similar else ""
    return suggestion + (f" (available: {', '.join(sorted(others))})" if 0 < len(others) <= MANY_NAMES else "")


def suggest_key(key: str, cfg: DictConfig) -> str:
    """Return a suggestion of a key: one in the same place, or else one of the same or a similar name anywhere."""
    parent, _, name = key.rpartition(".")
    is_hydra = key.startswith("hydra")
    hint = f"; --cfg {'hydra' if is_hydra else 'job'} shows all keys"
    node = OmegaConf.select(cfg, parent, throw_on_missing=False) if parent else None
    if isinstance(node, DictConfig):
        return did_you_mean(name, [str(sibling) for sibling in node], prefix=f"{parent}.") or hint
    keys = [other for other in _keys(cfg) if other not in (key, "hydra") and other.startswith("hydra.") == is_hydra]
    by_name = {other.rpartition(".")[2]: other for other in reversed(keys)}
    similar = get_close_matches(key, keys, n=1, cutoff=0.75)
    if not similar and "." not in key and not is_hydra:
        similar = [by_name[other] for other in ([name] if name in by_name else get_close_matches(name, by_name, n=2))]
    return f"; did you mean {' or '.join(similar)}?" if similar else hint


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in cfg:
        yield f"{prefix}{name!s}"
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            yield from _keys(node, f"{prefix}{name!s}.")
