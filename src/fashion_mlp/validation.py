"""A composed configuration against the schema: types, ranges, choices, interpolations."""

from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion_mlp.fields import Range
from fashion_mlp.suggestions import nearest, shown

INTEGERS = Range(ge=-(2**63), le=2**63 - 1)
"""What fits in 64 bits, as torch counts."""
FLOATS = Range(ge=1.2e-38, le=3.4e38)
"""What fits in 32 bits with full precision, in absolute value and besides 0, as torch computes."""


def out_of_range(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield a line for each value that its schema does not allow."""
    for name in cfg:
        yield from key_out_of_range(cfg, name, prefix)


def key_out_of_range(cfg: DictConfig, name: Any, prefix: str = "") -> Iterator[str]:
    """Yield a line for each reason why the schema does not allow the value of one key."""
    schema = OmegaConf.get_type(cfg)
    known: dict[str, Field[Any]] = {entry.name: entry for entry in fields(schema)} if is_dataclass(schema) else {}
    key = f"{prefix}{name}"
    if OmegaConf.is_missing(cfg, name):
        yield f"{key}: has no value; set it with {key}=..."
        return
    if name not in known and not isinstance(cfg._get_node(name), DictConfig):
        return
    try:
        value = cfg[name]
    except OmegaConfBaseException:
        return  # an interpolation: one that is known only in the run, or told by `unresolved`
    if isinstance(value, DictConfig):
        yield from out_of_range(value, f"{key}.")
    elif name in known and value is not None:
        if any(problems := list(unresolved(value, f"{key}."))):
            yield from problems
            return
        hint = _hints(schema)[name]  # type: ignore[arg-type]  # a dataclass, since it has the name
        if _is_of_type(value, hint):
            yield from _value_problems(key, value, known[name])
        else:
            yield f"{key}={shown(value)}: must be {_type_name(hint)}"


def unresolved(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield a line for each interpolation of a configuration that leads nowhere, or to a value of another type."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    names: Any = node.keys() if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        found: Any = node._get_node(name)
        if isinstance(node, ListConfig) and found._is_missing():
            yield f"{prefix}{name}: has no value; write the whole list"
            continue
        if not found._is_interpolation():
            yield from unresolved(found, f"{prefix}{name}.")
            continue
        try:
            node[name]
        except OmegaConfBaseException as error:
            told = str(error).splitlines()[0].rpartition(" raised while resolving interpolation: ")[2].strip('"')
            if told.startswith("While dereferencing") and isinstance(node, DictConfig):
                yield f"{prefix}{name}={found._value()}: {expected_type(node, name, error)}"
            elif "HydraConfig" not in told and "hydra:" not in told:  # known in the run
                yield f"{prefix}{name}={found._value()}: cannot be resolved: {told}"


def _value_problems(key: str, value: Any, entry: Field[Any]) -> Iterator[str]:
    values = list(value) if isinstance(value, ListConfig) else [value]
    numbers = [each for each in values if isinstance(each, int | float)]
    allowed = entry.metadata.get("range")
    if allowed is not None and not all(number in allowed for number in numbers):
        yield f"{key}={shown(value)}: must be {allowed}"
    elif not all(number in INTEGERS for number in numbers if isinstance(number, int)):
        yield f"{key}={shown(value)}: must be {INTEGERS}"
    elif not all(abs(number) in FLOATS for number in numbers if isinstance(number, float) and number):
        yield f"{key}={shown(value)}: does not fit in a 32-bit number; must be {FLOATS}"
    if entry.metadata.get("is_part") and isinstance(value, float) and value > 1:
        yield f"{key}={shown(value)}: must be an integer, or a part of the whole from 0.0 to 1.0"
    choices = entry.metadata.get("choices")
    if choices is not None and value not in choices:
        yield f"{key}={shown(value)}: no such choice{nearest(str(value), choices)}"
    elif value == "":
        yield f"{key}=: is empty; was a variable of the shell empty?"


def _is_of_type(value: Any, hint: Any) -> bool:
    """Return whether a list is one, as OmegaConf does not check for an interpolation, and is as long as it must be."""
    if get_origin(hint) not in (list, tuple):
        return True
    kind = get_args(hint)[0]
    kinds = (int, float) if kind is float else kind
    has_length = get_origin(hint) is list or len(value) == len(get_args(hint))
    return isinstance(value, ListConfig) and has_length and all(isinstance(each, kinds) for each in value)


@cache
def _hints(schema: Any) -> dict[str, Any]:
    """Return the types of a schema's keys; Python evaluates them anew each time, which is slow."""
    return get_type_hints(schema)


def expected_type(cfg: DictConfig, key: str, error: Exception) -> str:
    """Return what a key takes, after OmegaConf refused a value with `error`."""
    parent, _, name = key.rpartition(".")
    schema = OmegaConf.get_type(OmegaConf.select(cfg, parent) if parent else cfg)
    hints = _hints(schema) if is_dataclass(schema) else {}
    hint = hints.get(name, Any)
    return str(error).splitlines()[0] if hint is Any else f"must be {_type_name(hint)}"


def _type_name(hint: Any) -> str:
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if hint in names:
        return names[hint]
    if is_dataclass(hint):
        return f"set by its keys: {', '.join(entry.name for entry in fields(hint) if not entry.name.startswith('_'))}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(hint.__members__)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_type_name(option) for option in get_args(hint))
    if get_origin(hint) is list:
        return f"a list in brackets, each {_type_name(get_args(hint)[0])}"
    if get_origin(hint) is tuple:
        return f"a list in brackets of {len(get_args(hint))}, each {_type_name(get_args(hint)[0])}"
    return "keys in braces" if is_dataclass(hint) or get_origin(hint) is dict else str(hint)
