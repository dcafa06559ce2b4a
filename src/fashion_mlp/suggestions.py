"""What a user may have meant by a name that does not exist."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from omegaconf import DictConfig, OmegaConf

MANY_NAMES = 12
"""A longer list of names helps nobody."""


def nearest_key(key: str, cfg: DictConfig) -> str:
    """Suggest a key: one of the same name elsewhere, the most alike in the same place, or the most alike at all."""
    parent, _, name = key.rpartition(".")
    everywhere = list(_keys(cfg))
    node = OmegaConf.select(cfg, parent) if parent else None
    if isinstance(node, DictConfig):
        return nearest(name, [str(sibling) for sibling in node], prefix=f"{parent}.")
    same_name = [other for other in everywhere if other.rpartition(".")[2] == name]
    by_name = {other.rpartition(".")[2]: other for other in reversed(everywhere)}
    alike = get_close_matches(name, by_name, n=1)
    found = (same_name or get_close_matches(key, everywhere, n=1) or [by_name[other] for other in alike])[:1]
    return f"; did you mean {found[0]}?" if found else "; --cfg job shows all"


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in map(str, cfg):
        yield f"{prefix}{name}"
        if not OmegaConf.is_interpolation(cfg, name) and isinstance(cfg[name], DictConfig):
            yield from _keys(cfg[name], f"{prefix}{name}.")


def nearest(name: str, names: Sequence[str], prefix: str = "") -> str:
    """Suggest the most alike of some names, and list them all if they are few."""
    shown = [other for other in names if other != name and not other.startswith("_")]
    alike = get_close_matches(name, shown, n=1)
    return (f"; did you mean {prefix}{alike[0]}?" if alike else "") + (
        f" (there are {', '.join(sorted(shown))})" if 0 < len(shown) <= MANY_NAMES else ""
    )
