"""JSON Schemas of the files in `conf/`, with which editors complete and check them."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from fashion_mlp.config.command_line import CONF
from fashion_mlp.config.schema import SCHEMAS, CheckpointConfig, RunConfig, Section

# A reference to another value, or `???` for a missing one.
INTERPOLATION = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}
NULL = {"type": "null"}
# Types of pydantic whose values may be interpolations.
VALUES = ("bool", "dict", "float", "int", "list", "literal", "str")

# The key of a part of the configuration as a tuple of names; empty for the whole.
Key = tuple[str, ...]
Sections = Mapping[Key, list[type[Section]]]


class _FileSchema(GenerateJsonSchema):
    """A schema that accepts an interpolation instead of each value."""

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        generated = super().generate_inner(schema)
        return {"anyOf": [generated, INTERPOLATION]} if schema["type"] in VALUES else generated

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def editor_schemas() -> dict[str, dict[str, Any]]:
    """Return a schema for the options of each config group, and "run" for files with the keys of several groups."""
    sections = _find_sections()
    return {key[0] if key else "run": _part_schema(key, sections) for key in sorted({other[:1] for other in sections})}


def _find_sections() -> Sections:
    """Return the sections of each part of the configuration that has a `_target_` in `conf/`."""
    sections: dict[Key, list[type[Section]]] = {(): [RunConfig], ("checkpoint",): [CheckpointConfig]}
    for path in sorted(CONF.glob("*/*.yaml")):  # without the groups of Hydra
        config = OmegaConf.to_container(OmegaConf.load(path))
        for key, target in _targets(config, () if "# @package _global_" in path.read_text() else (path.parent.name,)):
            found = sections.setdefault(key, [])
            found += [SCHEMAS[target]] if target in SCHEMAS and SCHEMAS[target] not in found else []
    return sections


def _targets(config: Any, key: Key) -> Iterator[tuple[Key, str]]:
    """Yield the key of each part that has a `_target_`, and its value."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _targets(value, (*key, name))
        elif name == "_target_":
            yield key, value


def _part_schema(key: Key, sections: Sections) -> dict[str, Any]:
    """Return the schema of a part of the configuration; its `_target_` chooses between the sections."""
    names = sorted({other[len(key)] for other in sections if other[: len(key)] == key != other})
    parts = {name: _part_schema((*key, name), sections) if key else {"$ref": f"{name}.json"} for name in names}
    parts |= {"defaults": {"type": "array"}} | ({} if key else {"hydra": {"type": "object"}})
    custom: dict[str, Any] = {"type": "object", "required": ["_target_"]}
    if key not in sections:  # callbacks or loggers, each with a name
        named = {"type": "object", "properties": parts, "additionalProperties": {"anyOf": [custom, NULL]}}
        return {"anyOf": [named, INTERPOLATION, NULL]}
    options = [_section_schema(section, parts) for section in sections[key]]
    targets = [target for option in options for target in option["properties"]["_target_"]["enum"]]
    custom["properties"] = {"_target_": {"not": {"enum": targets}}}
    return {"anyOf": [*options, custom, INTERPOLATION, NULL]} if options else {}


def _section_schema(section: type[Section], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a section, in which no key is required since files are merged."""
    schema = section.model_json_schema(schema_generator=_FileSchema)
    schema.pop("required", None)
    targets = [target for target, other in SCHEMAS.items() if other is section]
    schema["properties"] |= {**parts, "_target_": {"enum": targets or [""]}}
    return schema
