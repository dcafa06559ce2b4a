"""What overrides of single keys do to a composed configuration, and what is wrong with them."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from fashion_mlp.suggestions import nearest_key, shown
from fashion_mlp.validation import expected_type, key_out_of_range

REMOVABLE = ("callbacks.", "logger.", "hydra.")
"""Where keys can be left out: these places have no schema."""


def apply(override: Override, cfg: DictConfig, values: Sequence[Any]) -> Iterator[str]:
    """Do what an override does, and yield a line for each reason why it cannot be done.

    Args:
        override: `key=value`, `+key=value`, `++key=value` or `~key`.
        cfg: the configuration, which is changed.
        values: those to set; of a sweep, the first one stays, for the next overrides.
    """
    key = override.key_or_group
    if override.package is not None:
        yield f"{override.input_line}: no such group{nearest_key(key, cfg)}"
    elif override.is_delete():
        yield from _delete(override, cfg)
    elif override.is_add() and not override.is_force_add() and has(cfg, key):
        yield f"{override.input_line}: is there already; write {key}=..., without +"
    elif (override.is_add() and not _may_have(cfg, key)) or (not override.is_add() and not has(cfg, key)):
        yield f"{override.input_line}: no such key{nearest_key(key, cfg)}"
    else:
        for value in reversed(values):
            yield from _set(cfg, key, value, may_add=override.is_add())


def update(cfg: DictConfig, key: str, value: Any, *, may_add: bool) -> None:
    """Set a key as an override does."""
    OmegaConf.update(cfg, key, value, merge=not isinstance(value, list), force_add=may_add)


def _delete(override: Override, cfg: DictConfig) -> Iterator[str]:
    key = override.key_or_group
    if not has(cfg, key):
        yield f"{override.input_line}: no such key{nearest_key(key, cfg)}"
    elif not key.startswith(REMOVABLE):
        yield f"{override.input_line}: a run needs it; callbacks and loggers can be left out, as in ~callbacks.curves"
    elif override.value() is not None:
        yield f"{override.input_line}: is left out without a value; write ~{key}"
    else:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, parent)
        found = node._get_node(name)
        if found._is_none() or found._is_interpolation():  # Hydra cannot
            yield f"{override.input_line}: cannot be left out; write {key}=null"
            return
        with open_dict(cfg):
            del node[name]


def _set(cfg: DictConfig, key: str, value: Any, *, may_add: bool) -> Iterator[str]:
    try:
        update(cfg, key, value, may_add=may_add)
    except (ConfigAttributeError, ConfigKeyError):
        yield f"{key}={shown(value)}: has other keys than {key}; each is added by itself, as in +{key}.NAME=..."
    except (OmegaConfBaseException, ValueError, OverflowError) as error:  # Python's own: a number too large
        yield f"{key}={shown(value)}: {expected_type(cfg, key, error)}"
    else:
        if type(value) is int and value != 1 and OmegaConf.select(cfg, key) is True:
            yield f"{key}={value}: must be true or false"
        if "${" not in str(value):  # what it refers to may be set by the next override
            yield from _problems_at(cfg, key)


def _problems_at(cfg: DictConfig, key: str) -> Iterator[str]:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(node, DictConfig):
        yield from key_out_of_range(node, name, f"{parent}." if parent else "")
    else:
        yield from _problems_at(cfg, parent)


def _may_have(cfg: DictConfig, key: str) -> bool:
    """Return whether a new key could be used where `+` puts it: a place with a schema knows all of its keys."""
    place: Any = cfg
    for name in key.split("."):
        schema = OmegaConf.get_type(place)
        if is_dataclass(schema) and name not in {entry.name for entry in fields(schema)}:
            return False
        place = place.get(name) if isinstance(place, DictConfig) else None
    return True


def has(cfg: DictConfig, key: str) -> bool:
    """Return whether a key exists, even if its value is missing or cannot be resolved."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(node, ListConfig):
        return name.isdigit() and int(name) < len(node)
    return isinstance(node, DictConfig) and name in node.keys()  # noqa: SIM118, `in` skips missing values
