"""Explain why a command line is wrong: every cause at once.

Used when Hydra cannot compose the configuration, and for each sweep, whose jobs Hydra composes one by one. It may be
slow.
"""

import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice, product
from typing import Any

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from fashion_mlp.config.check import find_problems, section_problems
from fashion_mlp.config.messages import did_you_mean, format_value
from fashion_mlp.config.schema import SCHEMAS, LayersConfig, SearchConfig

# Keys that may be removed with `~`.
REMOVABLE = re.compile(r"(callbacks|logger)\.\w+|hydra\..+")
# Groups whose option may be null.
OPTIONAL = ("experiment", "sweep")
# Launchers that come with an extra of this project, and the option of a plugin that `conf/` builds on.
EXTRAS = {"joblib": "sweep", "slurm": "slurm", "submitit_local": "slurm", "submitit_slurm": "slurm"}
PLUGINS = {"slurm": "submitit_slurm"}
# Most values of one key in a sweep.
MAX_VALUES = 10_000


def explain(texts: Sequence[str], *, multirun: bool = False, config_name: str = "train") -> list[str]:
    """Return a line for each mistake of a command line; Hydra must be initialized.

    Args:
        texts: the overrides.
        multirun: whether `-m` was typed.
        config_name: the primary config.
    """
    choices, settings, problems = check_options(texts)
    chosen = [[f"{choice.get_key_element()}={format_value(value)}" for value in values(choice)] for choice in choices]
    for combination in product(*chosen):
        try:
            cfg = compose(config_name, overrides=list(combination), return_hydra_config=True)
        except Exception as error:  # Hydra raises errors of many types
            reason = " ".join(str(error).split()).partition(" Config search path")[0]
            problems.append(f"{' '.join(combination) or config_name}: {reason}")
        else:
            problems += _composed_problems(cfg, choices, settings, multirun=multirun)
    return list(dict.fromkeys(filter(None, problems)))  # an empty message marks a value that is not known yet


def check_options(texts: Sequence[str]) -> tuple[list[Override], list[Override], list[str]]:
    """Return the overrides that choose valid options, those of single keys, and a line for each mistake."""
    loader = GlobalHydra.instance().config_loader()
    parser = OverridesParser.create(config_loader=loader)
    choices, settings, problems = [], [], []
    for text in _rejoin(texts):
        try:
            (override,) = parser.parse_overrides([text])
            found = values(override)
        except (HydraException, ValueError, RecursionError) as error:  # of Python: numbers too long, brackets too deep
            problems.append(f"{text if text.strip() else repr(text)}: {_parse_problem(text, error)}")
            continue
        key = override.key_or_group
        options = sorted(name for name in loader.get_group_options(key) if not name.startswith("_")) if key else []
        if text not in texts:
            problems.append(f"{text}: typed with spaces. Type {shlex.quote(text)}")
        elif not key:
            problems.append(f"{text}: no key. Expected key=value")
        elif options:
            lines = list(_group_problems(override, found, options))
            problems += lines
            choices += [] if lines else [override]
        elif override.is_delete() and not REMOVABLE.fullmatch(key):
            problems.append(f"{text}: required. Callbacks and loggers can be removed, such as ~callbacks.curves")
        else:
            settings.append(override)
    return choices, settings, problems


def _rejoin(texts: Sequence[str]) -> list[str]:
    """Join arguments that the shell has split at spaces within brackets or around `=`."""
    line = re.sub(r"\[[^]=]*\]", lambda match: re.sub(r",?\0", ",", match[0]), "\0".join(texts))
    line = re.sub(r"\0=\0?|=\0(?=[^\0=]+(\0|$))", "=", line)
    return line.split("\0") if texts else []


def _parse_problem(text: str, error: Exception) -> str:
    if not text.strip():
        return "empty argument; is a shell variable empty?"
    if any(text.count(quote) % 2 for quote in "'\""):
        return "a quote is not closed"
    if any(text.count(opening) > text.count(closing) for opening, closing in ("[]", "{}", "()")):
        return "a bracket is not closed"
    if "=" not in text:
        return "no value. Expected key=value"
    message = " ".join(str(error).split()).partition(" See https")[0]
    if isinstance(error, HydraException) and " while evaluating " not in message:
        return "cannot be parsed. Expected key=value, key=[a,b], or \"key='value with special characters'\""
    return f"cannot be parsed: {message.rpartition(' while evaluating ')[2]}"


def values(override: Override) -> list[Any]:
    """Return the values that an override sets: one, or each of a sweep up to `MAX_VALUES` and one more."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return list(islice(override.sweep_iterator(), MAX_VALUES + 1)) if override.is_sweep_override() else [value]


def _group_problems(override: Override, found: Sequence[Any], options: Sequence[str]) -> Iterator[str]:
    """Yield why an option of a group cannot be chosen so."""
    group, text = override.key_or_group, str(override.input_line)
    if override.package is not None or override.is_add() or override.is_delete():
        yield f"{text}: not supported. Type {group}=... (available: {', '.join(options)})"
        return
    if group == "sweep" and override.is_sweep_override():
        yield f"{text}: several options. Expected one"
    if not found:
        yield f"{text}: no such option (available: {', '.join(options)})"
    for chosen in found:
        names, text = chosen if isinstance(chosen, list) else [chosen], f"{group}={format_value(chosen)}"
        unknown = [format_value(name) for name in names if name not in options and (name or group not in OPTIONAL)]
        if isinstance(chosen, list) and group != "logger":
            yield f"{text}: several options. Expected one; a sweep is typed -m {group}=a,b"
        elif not names or len(set(map(format_value, names))) < len(names):
            yield f"{text}: invalid value. Expected different options; for none type {group}=none"
        elif group == "hydra/launcher" and chosen in EXTRAS and PLUGINS.get(chosen, chosen) not in options:
            yield f"{text}: not installed. Type python -m pip install -e '.[{EXTRAS[chosen]}]'"
        elif unknown:
            yield f"{text}: no such option{did_you_mean(unknown[0], options)}"
        elif group == "hydra/launcher" and chosen.endswith("slurm") and shutil.which("srun") is None:
            yield f"{text}: no SLURM on this machine. Use hydra/launcher=joblib"


def _composed_problems(
    cfg: DictConfig, choices: Sequence[Override], settings: Sequence[Override], *, multirun: bool
) -> Iterator[str]:
    """Yield the mistakes of single keys in one combination of options."""
    typed = {setting.key_or_group for setting in settings}
    for setting in settings:
        if setting.is_hydra_override():
            yield from _set(cfg, setting, setting.value())
    multirun = multirun or cfg.hydra.mode == RunMode.MULTIRUN
    is_search = SCHEMAS.get(cfg.hydra.sweeper._target_) is SearchConfig
    if is_search:
        sweeper: Any = OmegaConf.to_container(cfg.hydra.sweeper, resolve=False)
        yield from section_problems(SearchConfig, sweeper, "hydra.sweeper.").values()
        if cfg.model.get("hidden_sizes") == [] and "model.hidden_sizes" not in typed:
            yield "sweep=optuna: would add hidden layers to this model. Type model.hidden_sizes=[] to have none"
    params = OmegaConf.select(cfg, "hydra.sweeper.params")
    named = {*typed, *cfg.hydra.runtime.choices}
    added = [f"{key!s}={params[key]}" for key in params if key not in named] if isinstance(params, DictConfig) else []
    swept: list[tuple[Override, list[Any]]] = []
    for override in [*choices, *settings, *OverridesParser.create().parse_overrides(added)]:
        key, found = override.key_or_group, values(override)
        if override.is_sweep_override() and not multirun:
            yield f"{override.input_line}: several values without -m. Type -m for a sweep, or [a,b] for a list"
        elif override in choices or override.is_hydra_override():
            continue
        elif problem := _sweep_problem(override, found, is_search=is_search):
            yield f"{override.input_line}: {problem}"
        elif is_search and key in ("model.width", "model.depth"):
            for value in found:
                yield from section_problems(LayersConfig, {key.partition(".")[2]: value}, "model.").values()
        elif lines := _set(cfg, override, found[0]):
            yield from lines
        else:
            swept.append((override, found))
    yield from find_problems(cfg, multirun=multirun)
    for override, (first, *others) in swept:
        change = replace(override, type=OverrideType.CHANGE)
        for value in others:
            yield from _set(cfg, change, value) or find_problems(cfg, multirun=multirun)
        if others:
            _set(cfg, change, first)


def _sweep_problem(override: Override, found: Sequence[Any], *, is_search: bool) -> str:
    """Return why a sweep has no values, too many, or some from which only a search can draw; else an empty string."""
    if isinstance(override.value(), IntervalSweep) and not is_search:
        return "an interval is for sweep=optuna. Expected values, such as a,b"
    if not found:
        return "no value; a range ends before its stop"
    return f"more than {MAX_VALUES:,} values" if len(found) > MAX_VALUES else ""


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
    if isinstance(parent, DictConfig) and parent is not cfg:
        return did_you_mean(name, map(str, parent), prefix=key.removesuffix(name)) or hint
    keys = list(_keys(OmegaConf.to_container(cfg, resolve=False)))
    by_name = {other.rpartition(".")[2]: other for other in keys}
    similar = get_close_matches(key, keys, n=1, cutoff=0.75)
    similar = similar or [by_name[other] for other in get_close_matches(name, by_name, n=2, cutoff=0.75)]
    return f"; did you mean {' or '.join(similar)}?" if similar else hint


def _keys(part: Any, prefix: str = "") -> Iterator[str]:
    for name, value in part.items():
        if isinstance(value, dict) and f"{prefix}{name}" != "hydra":
            yield from _keys(value, f"{prefix}{name}.")
        yield f"{prefix}{name}"
