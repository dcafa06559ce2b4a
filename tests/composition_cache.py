"""A cache of Hydra's compositions, and of the YAML files that it reads, for all tests of a process.

A command line is composed two or three times, and Hydra's own cache lasts for one of them. Composing takes 0.1 s, most
of the time of a test that only checks a command line. Hydra and OmegaConf have no public way to keep what they read.
"""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import IO

import omegaconf
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides, _create_interpolation_map, create_defaults_list
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.grammar_parser import parse

# Values of overrides that cannot be changed by their users.
PLAIN = (str, int, float, QuotedString, type(None))
# Sources whose files no test changes. Options of another directory, such as that of `--config-dir`, are not cached.
UNCHANGED = {f"file://{Path(__file__).parents[1] / 'conf'}", "pkg://hydra.conf", "structured://"}


def install(patch: pytest.MonkeyPatch) -> None:
    """Let Hydra parse each override, read each file, and merge each choice of options once.

    The values of single keys are set in a copy of the merged files.
    """
    _cache_parsers(patch)
    _cache_files(patch)
    _cache_options(patch)
    _cache_records(patch)
    _cache_types(patch)


def _cache_parsers(patch: pytest.MonkeyPatch) -> None:
    parse_rule = OverridesParser.parse_rule
    overrides: dict[str, Override] = {}

    def parse_once(parser: OverridesParser, text: str, rule_name: str) -> Override:
        if text not in overrides or rule_name != "override":
            override: Override = parse_rule(parser, text, rule_name)
            if rule_name != "override" or not isinstance(override._value, PLAIN):
                return override
            overrides[text] = override
        return copy.copy(overrides[text])

    patch.setattr(OverridesParser, "parse_rule", parse_once)
    parse_interpolation = lru_cache(maxsize=None)(parse)
    for module in (omegaconf.base, omegaconf._utils):
        patch.setattr(module, "parse", parse_interpolation)


def _cache_files(patch: pytest.MonkeyPatch) -> None:
    read = ConfigRepository.load_config
    files: dict[str, bytes] = {}

    def load_config(repo: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = repo._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or not _is_unchanged(source):
            return read(repo, config_path)
        key = f"{source} {config_path}"
        if key not in files:
            files[key] = pickle.dumps(read(repo, config_path))
        result: ConfigResult = pickle.loads(files[key])  # faster than a deep copy
        return result

    patch.setattr(ConfigRepository, "load_config", load_config)
    # Each composition would copy the schemas, which belong to a singleton.
    patch.setattr(ConfigStore, "__deepcopy__", lambda store, memo: store, raising=False)


def _cache_options(patch: pytest.MonkeyPatch) -> None:
    merge = ConfigLoaderImpl._compose_config_from_defaults_list
    lists: dict[tuple[object, ...], DefaultsList] = {}
    configs: dict[tuple[str, ...], bytes] = {}

    def list_defaults(
        repo: CachingConfigRepository,
        config_name: str | None,
        overrides_list: list[Override],
        prepend_hydra: bool,
        skip_missing: bool,
    ) -> DefaultsList:
        arguments = config_name, prepend_hydra, skip_missing
        if not all(map(_is_unchanged, repo.get_sources())):
            return create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        keys = {override.key_or_group for override in overrides_list}
        groups = {key for key in keys if repo.group_exists(key)}
        choices = [override for override in overrides_list if override.key_or_group in groups]
        key = *arguments, *(override.input_line for override in choices)
        if key not in lists:
            lists[key] = create_defaults_list(repo, config_name, choices, prepend_hydra, skip_missing)
        values = [
            override
            for override in overrides_list
            if override.key_or_group not in groups or isinstance(override.value(), dict)
        ]
        return replace(lists[key], config_overrides=[value for value in values if not value.is_sweep_override()])

    def merge_options(
        loader: ConfigLoaderImpl, defaults: list[ResultDefault], repo: CachingConfigRepository
    ) -> DictConfig:
        if not all(map(_is_unchanged, repo.get_sources())):
            return merge(loader, defaults, repo)
        key = tuple(map(repr, defaults))
        if key not in configs:
            configs[key] = pickle.dumps(merge(loader, defaults, repo))
        cfg: DictConfig = pickle.loads(configs[key])
        return cfg

    def map_interpolations(overrides: Overrides, defaults: list[InputDefault], self_added: bool) -> DictConfig:
        is_needed = any(default.is_interpolation() for default in defaults)
        return _create_interpolation_map(overrides, defaults, self_added) if is_needed else DictConfig({})

    patch.setattr("hydra._internal.defaults_list._create_interpolation_map", map_interpolations)
    patch.setattr("hydra._internal.config_loader_impl.create_defaults_list", list_defaults)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_options)


def _cache_records(patch: pytest.MonkeyPatch) -> None:
    """Parse the records of many runs of the same configuration once."""
    load = OmegaConf.load
    configs: dict[bytes, bytes] = {}

    def load_once(path: Path | IO[str]) -> DictConfig | ListConfig:
        if not isinstance(path, Path):
            return load(path)
        content = path.read_bytes()
        if content not in configs:
            configs[content] = pickle.dumps(load(path))
        cfg: DictConfig | ListConfig = pickle.loads(configs[content])
        return cfg

    patch.setattr(OmegaConf, "load", load_once)


def _cache_types(patch: pytest.MonkeyPatch) -> None:
    """Decide once for each class whether OmegaConf takes its objects for structured configs."""

    def cache(decide: Callable[[type], bool]) -> Callable[[object], bool]:
        decide_once = lru_cache(maxsize=None)(decide)
        return lambda obj: decide_once(obj if isinstance(obj, type) else type(obj))

    for decide in (omegaconf._utils.is_attr_class, omegaconf._utils.is_dataclass):
        patch.setattr(omegaconf._utils, decide.__name__, cache(decide))


def _is_unchanged(source: ConfigSource) -> bool:
    return source.full_path() in UNCHANGED
