"""Check a command line: report all mistakes in its overrides and configurations, before torch is imported."""

import os
import re
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion_mlp.config import records  # noqa: F401, its resolvers are used in `conf/`
from fashion_mlp.config.check_config import find_problems, section_problems
from fashion_mlp.config.command_line import initialize_hydra, parse_flags
from fashion_mlp.config.messages import did_you_mean, find_obstacle
from fashion_mlp.config.overrides import MAX_VALUES, parse_overrides, search_space, sweep_options, sweep_values
from fashion_mlp.config.schema import LAYER_KEYS, SCHEMAS, LayersConfig, SearchConfig
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.ranks import is_rank_zero
from fashion_mlp.runtime.run_directory import expand_home

# Names that other programs give to the directory of a run.
RUN_DIR_SYNONYMS = re.compile("(out|output|log|save|default_root)_?(dir)?")


def check_command_line(argv: Sequence[str]) -> None:
    """Check the configuration of a run, or of each job of a sweep; a command that prints help is not checked.

    Raises:
        UserError: with a line for each mistake.
    """
    args = parse_flags(argv)
    if args.cfg or args.info:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints an error instead of raising it
    if not (args.help or args.hydra_help or args.shell_completion):
        with initialize_hydra(args.config_path, args.config_dir):
            check_overrides(args.overrides, multirun=args.multirun, config_name=args.config_name or "train")


@contextmanager
def explain_hydra_errors() -> Iterator[None]:
    """Turn an error of Hydra, such as flags that exclude each other, into a `UserError`; a run converts its own."""
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:  # Hydra raises errors of many types
        raise UserError(str(error)) from error


def check_overrides(texts: Sequence[str], *, multirun: bool = False, config_name: str = "train") -> None:
    """Check the configuration that overrides compose; Hydra must be initialized.

    Args:
        texts: the overrides.
        multirun: True if `-m` was typed.
        config_name: the name of the primary config.

    Raises:
        UserError: with a line for each mistake.
    """
    choices, settings, problems = parse_overrides(texts)
    for combination in product(*map(sweep_options, choices)):
        try:
            cfg = compose(config_name, overrides=list(combination), return_hydra_config=True)
        except Exception as error:  # Hydra raises errors of many types
            reason = " ".join(str(error).split()).partition(" Config search path")[0]
            problems.append(f"{' '.join(combination) or config_name}: {reason}")
        else:
            problems += _check_combination(cfg, choices, settings, multirun=multirun)
    if lines := dict.fromkeys(filter(None, problems)):  # an empty message marks a value that is not known yet
        raise UserError(*lines)


def _check_combination(
    cfg: DictConfig, choices: Sequence[Override], settings: Sequence[Override], *, multirun: bool
) -> Iterator[str]:
    """Set single keys in the configuration of one combination of options, and yield a line for each mistake."""
    for setting in settings:
        if setting.is_hydra_override():
            yield from _set(cfg, setting, setting.value())
    multirun = multirun or cfg.hydra.mode == RunMode.MULTIRUN
    is_search = SCHEMAS.get(cfg.hydra.sweeper._target_) is SearchConfig
    typed = {setting.key_or_group for setting in settings}
    if is_search:
        yield from _check_search(cfg, typed)
    typed |= cfg.hydra.runtime.choices.keys()
    space = search_space(cfg)[0] if multirun else []  # a single run may be a trial of a search
    searched = [text for text in space if text.partition("=")[0] not in typed]
    swept: list[tuple[Override, list[Any]]] = []
    for override in [*choices, *settings, *OverridesParser.create().parse_overrides(searched)]:
        key, text, values = override.key_or_group, override.input_line, sweep_values(override)
        if override.is_sweep_override() and not multirun:
            yield f"{text}: several values without -m. Type -m for a sweep, or [a,b] for a list"
        elif override in choices or override.is_hydra_override():
            continue
        elif isinstance(override.value(), IntervalSweep) and not is_search:
            yield f"{text}: an interval is for sweep=optuna. Expected values, such as a,b"
        elif key in ("name", "objective") and override.is_sweep_override():
            yield f"{text}: several values. Expected one for the whole sweep"
        elif not 0 < len(values) <= MAX_VALUES:
            yield f"{text}: invalid number of values. Expected 1 to {MAX_VALUES:,}; a range ends before its stop"
        elif is_search and key in LAYER_KEYS and "hidden_sizes" in cfg.model:
            for value in values:
                yield from section_problems(LayersConfig, {key.partition(".")[2]: value}, "model.").values()
        elif lines := _set(cfg, override, values[0]):
            yield from lines
        elif override.is_sweep_override():
            swept.append((override, values))
    if is_rank_zero():
        yield _directory_problem(cfg, "hydra.sweep.dir" if multirun else "hydra.run.dir")
    yield from _problems(cfg, multirun=multirun)
    for override, (first, *others) in swept:
        change = replace(override, type=OverrideType.CHANGE)
        for value in others:
            yield from _set(cfg, change, value) or _problems(cfg, multirun=multirun)
        _set(cfg, change, first)


def _problems(cfg: DictConfig, *, multirun: bool) -> list[str]:
    """Return a line for each mistake in a configuration, also in what its run needs from Hydra."""
    problems = find_problems(cfg, multirun=multirun)
    if cfg.hydra.job.chdir:
        problems.append("hydra.job.chdir=true: not supported, since other paths are relative. Expected false")
    nodes, command = cfg.trainer.num_nodes, OmegaConf.select(cfg, "hydra.launcher.command")
    if multirun and not problems and nodes > 1 and not command:
        start = "Set hydra/launcher=process and hydra.launcher.command; see conf/hydra/launcher/process.yaml"
        problems.append(f"trainer.num_nodes={nodes}: a sweep starts its jobs on one machine. {start}")
    return problems


def _check_search(cfg: DictConfig, typed: Container[str]) -> Iterator[str]:
    """Yield a line for each mistake in the configuration of a search."""
    sweeper: Any = OmegaConf.to_container(cfg.hydra.sweeper, resolve=False)
    yield from section_problems(SearchConfig, sweeper, "hydra.sweeper.").values()
    if cfg.model.get("hidden_sizes") == [] and "model.hidden_sizes" not in typed:
        yield "sweep=optuna: would add hidden layers to this model. Type model.hidden_sizes=[] to have none"


def _directory_problem(cfg: DictConfig, key: str) -> str:
    """Return why the directory of a run or sweep cannot be created; an empty string if it can."""
    try:
        text = OmegaConf.select(cfg, key)
    except OmegaConfBaseException as error:
        return f"{key}: cannot be resolved: {str(error).splitlines()[0]}"
    if not text.strip():
        return f"{key}=: invalid value. Expected the path of a directory; is a shell variable empty?"
    if text.startswith("~") and key == "hydra.sweep.dir":
        return f"{key}={text}: Hydra does not expand ~ in YAML. Type {key}={expand_home(text)}"
    problem = find_obstacle(Path(text))
    return problem and f"{key}={text}: {problem}"


def _set(cfg: DictConfig, override: Override, value: Any) -> list[str]:
    """Set a key to a value as Hydra does, or return why it cannot be set."""
    if override.is_hydra_override() and override.is_sweep_override():
        return [f"{override.input_line}: several values of a key of Hydra. Expected one; type [a,b] for a list"]
    key, text = override.key_or_group, override.input_line
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent, throw_on_resolution_failure=False) if parent else cfg
    # `in` is False for a missing value.
    exists = isinstance(node, ListConfig) or (isinstance(node, DictConfig) and name in node.keys())  # noqa: SIM118
    if override.package is not None or not (exists or override.is_add() or override.is_force_add()):
        return [f"{text}: no such key{_suggest_key(key, node, cfg)}"]
    try:
        # Hydra's public `compose` reports the first mistake only, and takes a tenth of a second for each override.
        single = replace(override, _value=value, value_type=ValueType.ELEMENT)
        ConfigLoaderImpl._apply_overrides_to_config([single], cfg)
    except (HydraException, ValueError, OverflowError) as error:  # of Python: a number too large
        return [f"{text}: {str(error.__cause__ or error).splitlines()[0]}"]
    return []


def _suggest_key(key: str, parent: Any, cfg: DictConfig) -> str:
    """Return a suggestion of a key: one in the same place, or else one of a similar name anywhere."""
    name = key.rpartition(".")[2]
    hint = f"; --cfg {'hydra' if key.startswith('hydra') else 'job'} shows all keys"
    if RUN_DIR_SYNONYMS.fullmatch(key):
        return "; did you mean hydra.run.dir (hydra.sweep.dir for a sweep)?"
    if isinstance(parent, DictConfig) and parent is not cfg:
        return did_you_mean(name, map(str, parent), prefix=key.removesuffix(name)) or hint
    keys = list(_keys(OmegaConf.to_container(cfg, resolve=False)))
    by_name = {other.rpartition(".")[2]: other for other in keys}
    similar = get_close_matches(key, keys, n=1, cutoff=0.75)
    similar = similar or [by_name[other] for other in get_close_matches(name, by_name, n=2, cutoff=0.75)]
    return f"; did you mean {' or '.join(similar)}?" if similar else hint


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, dict) and f"{prefix}{name}" != "hydra":
            yield from _keys(value, f"{prefix}{name}.")
        yield f"{prefix}{name}"
