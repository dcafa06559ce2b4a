"""Check a composed configuration against the schema."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from fashion_mlp.config import trainer  # noqa: F401, a schema
from fashion_mlp.config.fields import LARGEST, SMALLEST, Section, describe
from fashion_mlp.config.messages import did_you_mean, format_value
from fashion_mlp.config.schema import OtherDataConfig, RunConfig

# Messages by the key that they are about.
Problems = dict[str, str]
NUMBER = r"[-+]?[\d.]+(e[-+]?\d+)?"
# In place of a value that is missing; an interpolation is not checked.
UNKNOWN = "${}"


def find_problems(cfg: DictConfig, *, multirun: bool = False) -> list[str]:
    """Return a line for each mistake in a composed configuration.

    Args:
        cfg: the configuration; a value that is known only in the run, such as `${hydra:runtime.output_dir}`, is not
            checked.
        multirun: whether it is that of a job of a sweep.
    """
    unusable: Problems = {}
    values = _values(cfg, unusable)
    found: Problems = {}
    for key, part, schema in _parts(values):
        found.update(section_problems(schema, part, f"{key}.", multirun=multirun))
    found.update(section_problems(RunConfig, values, multirun=multirun))
    found.update(unusable)
    if any(found.values()):
        # A value that refers to an invalid one is not a second mistake.
        found = {key: line for key, line in found.items() if line}
        return [line for key, line in found.items() if not _refers_to(cfg, key, found)] or list(found.values())
    return [] if found else list(RunConfig.model_construct(**values).cross_conflicts())


def _values(node: DictConfig, problems: Problems, prefix: str = "") -> dict[str, Any]:
    names = [name for name in node if prefix or name != "hydra"]
    values = {str(name): _value(node, name, f"{prefix}{name!s}", problems) for name in names}
    return {name: value for name, value in values.items() if value is not UNKNOWN}


def _value(node: DictConfig | ListConfig, name: Any, key: str, problems: Problems) -> Any:
    """Return a value with its interpolations resolved as far as possible, and record what cannot be used."""
    if OmegaConf.is_missing(node, name):
        problems[key] = f"{key}: missing value. Type {key}=..."
        return UNKNOWN
    try:
        value = node[name]
    except OmegaConfBaseException as error:
        raw: Any = OmegaConf.to_container(node, resolve=False)[name]  # type: ignore[index]
        reason = str(error).splitlines()[0].rpartition(" raised while resolving interpolation: ")[2].strip('"')
        if "HydraConfig" not in reason and "hydra" not in str(raw):
            problems[key] = f"{key}={raw}: cannot be resolved: {reason}"
        return raw
    if isinstance(value, ListConfig):
        return [_value(value, index, f"{key}.{index}", problems) for index in range(len(value))]
    if isinstance(value, DictConfig):
        return _values(value, problems, f"{key}.")
    return value


def _parts(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any], type[Section]]]:
    """Yield the key, the values and the schema of each part of a configuration that has one."""
    for name, value in values.items():
        if isinstance(value, dict):
            schema = SCHEMAS.get(str(value.get("_target_")))
            if schema is None and f"{prefix}{name}" == "data":
                schema = OtherDataConfig
            if schema is not None:
                yield f"{prefix}{name}", value, schema
            yield from _parts(value, f"{prefix}{name}.")


def section_problems(
    schema: type[Section], values: Mapping[str, Any], prefix: str = "", *, multirun: bool = False
) -> Problems:
    """Return the mistakes in a part of a configuration; an empty message for a value that is known only in the run.

    Args:
        schema: of the part.
        values: its keys; those without a value are not checked.
        prefix: what precedes the keys in messages, such as "optimizer.".
        multirun: whether it is that of a job of a sweep.
    """
    try:
        schema.model_validate(values, context={"multirun": multirun})
    except ValidationError as error:
        problems: Problems = {}
        for entry in error.errors(include_url=False):
            if entry["type"] == "conflict":
                problems |= {f"{prefix}{line}": f"{prefix}{line}" for line in entry["ctx"]["lines"]}
            elif entry["type"] != "missing" or schema.is_complete:
                key, line = _explanation(schema, values, prefix, entry["loc"], entry["type"])
                problems.setdefault(key, line)
        return problems
    return {}


def _explanation(
    schema: type[Section], values: Mapping[str, Any], prefix: str, place: tuple[int | str, ...], kind: str
) -> tuple[str, str]:
    """Return the key of an invalid value, and the message; a union gives several errors for one key."""
    name, *inner = map(str, place)
    fields = {field.alias or key: field for key, field in schema.model_fields.items()}
    value: Any = values.get(name)
    hint = getattr(fields.get(name), "annotation", None)
    text = str(value) if isinstance(value, float) else format_value(value)
    if inner and isinstance(hint, type) and issubclass(hint, Section) and isinstance(value, dict):
        return _explanation(hint, value, f"{prefix}{name}.", place[1:], kind)
    if inner and name in ("callbacks", "logger"):
        key = f"{prefix}{name}.{inner[0]}"
        return key, f"{key}={format_value(value[inner[0]])}: invalid value. Expected null, or an object with a _target_"
    key = f"{prefix}{name}"
    if kind == "missing":
        return key, f"{key}: missing value. Type {key}=..."
    if kind == "extra_forbidden":
        return key, f"{key}={text}: no such key{did_you_mean(name, fields, prefix=prefix)}"
    if "${" in text:
        return key, ""
    expected = describe(fields[name])
    return key, f"{key}={text}: invalid value. Expected {expected}{_suggestion(value, expected)}"


def _suggestion(value: Any, expected: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if expected.startswith("the path"):
            return f"; type ./{value}"
        is_fitting = abs(value) < 2**63 if isinstance(value, int) else not value or SMALLEST <= abs(value) <= LARGEST
        return "" if is_fitting else f", of {'64' if isinstance(value, int) else '32'} bits"
    if not isinstance(value, str):
        return ""
    if not value:
        return "; is a shell variable empty?"
    if re.fullmatch(NUMBER, value):
        return ", not text; ${oc.decode:${oc.env:NAME}} reads one from the environment"
    choices = [choice for choice in re.split(", | or ", expected) if " " not in choice]
    similar = get_close_matches(value, choices, n=1)
    return f"; did you mean {similar[0]}?" if similar else ""


def _refers_to(cfg: DictConfig, key: str, others: Iterable[str]) -> bool:
    """Return True if the value of a key refers to another one of some keys, as `data.shuffle_seed: ${seed}` does."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if not (isinstance(node, DictConfig) and name in node and OmegaConf.is_interpolation(node, name)):
        return False
    raw: Any = OmegaConf.to_container(node, resolve=False)
    return any(re.search(rf"\${{{re.escape(other)}\b", raw[name]) for other in others if other != key)


def _subclasses(parent: type[Section]) -> Iterable[type[Section]]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)


# The schema of each `_target_` that has one.
SCHEMAS = {target: schema for schema in _subclasses(Section) for target in schema.targets}
