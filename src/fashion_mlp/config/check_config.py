"""Check one composed configuration: resolve its values, and check each section against its schema."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fashion_mlp.config.check_across_sections import find_conflicts
from fashion_mlp.config.messages import did_you_mean, format_value
from fashion_mlp.config.schema import SCHEMAS, CheckpointConfig, OtherDataConfig, RunConfig, Section

# Schemas of sections without a `_target_`, or with one that has no schema.
SCHEMAS_BY_KEY: dict[str, type[Section]] = {"checkpoint": CheckpointConfig, "data": OtherDataConfig}
# A message for each key.
Problems = dict[str, str]
# Stands for a missing value. It looks like an interpolation, which is not checked.
UNKNOWN = "${}"
TYPES = {
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "object": "keys in braces",
    "string": "text",
}
BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "greater than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


def find_problems(cfg: DictConfig, *, multirun: bool = False) -> list[str]:
    """Return a line for each mistake in a composed configuration.

    Args:
        cfg: the configuration. A value that is known only in the run, such as `${hydra:runtime.output_dir}`, is not
            checked.
        multirun: True for a job of a sweep.
    """
    unusable: Problems = {}
    references: dict[str, str] = {}
    values = _values(cfg, OmegaConf.to_container(cfg, resolve=False), unusable, references)
    found = section_problems(RunConfig, values, multirun=multirun)
    for key, schema, section in _sections(values):
        found |= section_problems(schema, section, f"{key}.", multirun=multirun)
    found |= unusable
    if not found:
        return list(find_conflicts(RunConfig.model_construct(**values)))
    found = {key: line for key, line in found.items() if line}
    # A value that refers to an invalid one, as data.shuffle_seed does to seed, is not a second mistake.
    repeated = {key for key, raw in references.items() if any(f"${{{name}" in raw for name in found if name != key)}
    return [line for key, line in found.items() if key not in repeated] or list(found.values())


def _values(
    node: DictConfig, raw: Any, problems: Problems, references: dict[str, str], prefix: str = ""
) -> dict[str, Any]:
    names = [name for name in raw if prefix or name != "hydra"]
    values = {str(name): _value(node, name, raw[name], f"{prefix}{name!s}", problems, references) for name in names}
    return {name: value for name, value in values.items() if value != UNKNOWN}


def _value(node: Any, name: Any, raw: Any, key: str, problems: Problems, references: dict[str, str]) -> Any:
    """Return a value with its interpolations resolved if possible; note references and what cannot be used.

    Args:
        node: the section or list that contains the value.
        name: the name or index of the value.
        raw: the value as plain containers, with its interpolations.
        key: the whole key of the value.
        problems: a message for each key that cannot be used; added to.
        references: the interpolation of each key that has one; added to.
    """
    if raw == "???":
        problems[key] = f"{key}: missing value. Type {key}=..."
        return UNKNOWN
    if not isinstance(raw, dict | list) and "${" not in str(raw):
        return raw
    if OmegaConf.is_interpolation(node, name):
        references[key] = raw
    try:
        value = node[name]
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rpartition(" raised while resolving interpolation: ")[2].strip('"')
        if "HydraConfig" not in reason and "hydra" not in raw:
            problems[key] = f"{key}={raw}: cannot be resolved: {reason}"
        return raw
    if key in references and OmegaConf.is_config(value):
        raw = OmegaConf.to_container(value, resolve=False)
    if isinstance(value, ListConfig):
        return [_value(value, index, item, f"{key}.{index}", problems, references) for index, item in enumerate(raw)]
    return _values(value, raw, problems, references, f"{key}.") if isinstance(value, DictConfig) else value


def _sections(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, type[Section], dict[str, Any]]]:
    """Yield the key, schema and values of each section that has a schema."""
    for name, value in values.items():
        if isinstance(value, dict):
            key = f"{prefix}{name}"
            if schema := SCHEMAS.get(str(value.get("_target_")), SCHEMAS_BY_KEY.get(key)):
                yield key, schema, value
            yield from _sections(value, f"{key}.")


def section_problems(
    schema: type[Section], values: Mapping[str, Any], prefix: str = "", *, multirun: bool = False
) -> Problems:
    """Return the mistakes in a section; an empty message for a value that is known only in the run.

    Args:
        schema: the schema of the section.
        values: the values of the section by key. A key that is missing has the default of the class.
        prefix: the prefix of keys in messages, such as "optimizer.".
        multirun: True for a job of a sweep.
    """
    try:
        section = schema.model_validate(values)
    except ValidationError as invalid:
        problems: Problems = {}
        for error in invalid.errors(include_url=False):
            if error["type"] != "missing" or schema is RunConfig:  # classes have defaults
                key, line = _explanation(schema, values, prefix, error)
                problems.setdefault(key, line)  # a union gives several errors for one key
        return problems
    return {f"{prefix}{line}": f"{prefix}{line}" for line in section.conflicts(multirun=multirun)}


def _explanation(schema: type[Section], values: Mapping[str, Any], prefix: str, error: ErrorDetails) -> tuple[str, str]:
    """Return the key of an invalid value, and the message."""
    name, *inner = map(str, error["loc"])
    key, value = f"{prefix}{name}", values.get(name)
    if error["type"] == "missing":
        return key, f"{key}: missing value. Type {key}=..."
    if inner and isinstance(value, dict) and inner[0] in value:  # one of several callbacks or loggers
        key, value = f"{key}.{inner[0]}", value[inner[0]]
    text, properties = format_value(value), schema.model_json_schema()["properties"]
    if name not in properties:
        return key, f"{key}={text}: no such key{did_you_mean(name, properties, prefix=prefix)}"
    expected, reason = describe(properties[name]), error.get("ctx", {}).get("error", "invalid value")
    return key, "" if "${" in text else f"{key}={text}: {reason}. Expected {expected}{_hint(value, expected)}"


def describe(schema: Mapping[str, Any]) -> str:
    """Return what a JSON schema accepts, in words."""
    *first, last = dict.fromkeys(_alternatives(schema))
    return f"{', '.join(first)} or {last}" if first else last


def _alternatives(schema: Mapping[str, Any]) -> Iterator[str]:
    if "description" in schema:
        yield schema["description"]
    elif "anyOf" in schema:
        for option in schema["anyOf"]:
            yield from _alternatives(option)
    elif "const" in schema or "enum" in schema:
        yield from map(format_value, schema.get("enum", [schema.get("const")]))
    elif schema["type"] == "array":
        length = (
            f" of {'' if 'maxItems' in schema else 'at least '}{schema['minItems']}" if "minItems" in schema else ""
        )
        yield f"a list in brackets{length}, each {describe(schema['items'])}"
    else:
        bounds = [f"{words} {schema[name]}" for name, words in BOUNDS.items() if name in schema]
        yield " ".join([TYPES.get(schema["type"], schema["type"]), " and ".join(bounds)]).strip()


def _hint(value: Any, expected: str) -> str:
    if value == "":
        return "; is a shell variable empty?"
    if not isinstance(value, str):
        return ""
    if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value):
        return ", not text; ${oc.decode:${oc.env:NAME}} reads one from the environment"
    choices = [choice for choice in re.split(", | or ", expected) if " " not in choice]
    similar = get_close_matches(value, choices, n=1)
    return f"; did you mean {similar[0]}?" if similar else ""
