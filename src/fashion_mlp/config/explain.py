"""Explain why a command line is wrong: every cause at once.

Used when Hydra cannot compose the configuration, and for each sweep, whose jobs Hydra composes one by one. It may be
slow.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fashion_mlp.config.check import find_problems, section_problems
from fashion_mlp.config.command_line import MAX_VALUES, parse_overrides, values
from fashion_mlp.config.launchers import launcher_error
from fashion_mlp.config.messages import did_you_mean, format_value, suggest_key
from fashion_mlp.config.schema import LayersConfig, SearchConfig, holds_out_images

# Where a key may be removed with `~`.
REMOVABLE = ("callbacks.", "logger.", "hydra.")
# Groups of which several options are combined, as in logger=[tensorboard,csv].
SEVERAL = ("logger",)
# Groups whose option may be null.
OPTIONAL = ("experiment", "sweep")


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
    return list(dict.fromkeys(filter(None, problems)))  # no message: a value that is known only in the run


def check_options(texts: Sequence[str]) -> tuple[list[Override], list[Override], list[str]]:
    """Return the overrides that choose valid options, those of single keys, and a line for each mistake."""
    loader = GlobalHydra.instance().config_loader()
    overrides, problems = parse_overrides(texts, loader)
    choices, settings = [], []
    for override in overrides:
        key, text = override.key_or_group, override.input_line
        if options := _options(key, loader):
            lines = list(_group_problems(override, options))
            problems += lines
            choices += [] if lines else [override]
        elif override.is_delete() and not key.startswith(REMOVABLE):
            problems.append(f"{text}: required. Callbacks and loggers can be removed, such as ~callbacks.curves")
        else:
            settings.append(override)
    return choices, settings, problems


def _composed_problems(
    cfg: DictConfig, choices: Sequence[Override], settings: Sequence[Override], *, multirun: bool
) -> Iterator[str]:
    """Yield the mistakes of single keys in one combination of options."""
    hydra_settings = [setting for setting in settings if setting.key_or_group.startswith(("hydra.", "hydra/"))]
    for setting in hydra_settings:
        yield from _apply(setting, cfg, setting.value())
    multirun = multirun or cfg.hydra.mode == RunMode.MULTIRUN
    is_search = cfg.hydra.sweeper._target_ in SearchConfig.targets
    if is_search:
        sweeper: Any = OmegaConf.to_container(cfg.hydra.sweeper, resolve=False)
        yield from section_problems(SearchConfig, sweeper, "hydra.sweeper.").values()
    typed = {setting.key_or_group for setting in settings}
    params = OmegaConf.select(cfg, "hydra.sweeper.params")
    named = {*typed, *cfg.hydra.runtime.choices}
    added = [f"{key!s}={params[key]}" for key in params if key not in named] if isinstance(params, DictConfig) else []
    swept: list[tuple[Override, list[Any]]] = []
    for override in [*choices, *settings, *OverridesParser.create().parse_overrides(added)]:
        if override.is_sweep_override() and not multirun:
            yield f"{override.input_line}: several values without -m. Type -m for a sweep, or [a,b] for a list"
        elif override in choices or override in hydra_settings:
            continue
        elif lines := list(_sweep_problems(override, is_search=is_search)):
            yield from lines
        elif is_search and override.key_or_group in ("model.width", "model.depth"):
            name = override.key_or_group.partition(".")[2]
            for value in values(override):
                yield from section_problems(LayersConfig, {name: value}, "model.").values()
        elif lines := list(_apply(override, cfg, values(override)[0])):
            yield from lines
        elif override.is_sweep_override():
            swept.append((override, values(override)))
    for job in _jobs(cfg, swept):
        lines = find_problems(job, multirun=multirun)
        yield from lines or (_search_problems(job, typed) if is_search else ())


def _jobs(cfg: DictConfig, swept: Sequence[tuple[Override, list[Any]]]) -> Iterator[DictConfig]:
    """Yield the configuration with the first value of each sweep, then with each other value of each sweep."""
    yield cfg
    for override, (first, *others) in swept:
        for value in (*others, first):
            OmegaConf.update(cfg, override.key_or_group, value, merge=False, force_add=override.is_add())
            if value is not first:
                yield cfg


def _search_problems(cfg: DictConfig, typed: set[str]) -> Iterator[str]:
    if not holds_out_images(cfg.data):
        yield "data.val_size=0: a search compares val/acc. Set data.val_size above 0"
    if cfg.model.get("hidden_sizes") == [] and "model.hidden_sizes" not in typed:
        yield "sweep=optuna: would add hidden layers to this model. Type model.hidden_sizes=[] to have none"


def _options(group: str, loader: ConfigLoader) -> list[str]:
    """Return the options of a config group; none if there is no such group."""
    return sorted(name for name in loader.get_group_options(group) if not name.startswith("_")) if group else []


def _group_problems(override: Override, options: Sequence[str]) -> Iterator[str]:
    """Yield why an option of a group cannot be chosen so."""
    group, text = override.key_or_group, str(override.input_line)
    if override.is_delete():
        yield f"{text}: required. Type {group}=... (available: {', '.join(options)})"
    elif override.package is not None:
        yield f"{text}: not supported with @. Type {group}={options[0]}"
    elif override.is_add():
        yield f"{text}: not needed with +. Type {text.lstrip('+')}"
    elif group == "sweep" and override.is_sweep_override():
        yield f"{text}: several options. Expected one"
    else:
        if not values(override):
            yield f"{text}: no such option (available: {', '.join(options)})"
        for chosen in values(override):
            names, text = chosen if isinstance(chosen, list) and group in SEVERAL else [chosen], format_value(chosen)
            if isinstance(chosen, list) and group not in SEVERAL:
                yield f"{group}={text}: several options. Expected one; a sweep is typed -m {group}=a,b"
            elif not names or len(set(map(format_value, names))) < len(names):
                yield f"{group}={text}: invalid value. Expected different options; for none type {group}=none"
            elif unknown := [name for name in names if name not in [*options, *([None] if group in OPTIONAL else [])]]:
                yield f"{group}={text}: no such option{did_you_mean(format_value(unknown[0]), options)}"
            elif group == "hydra/launcher" and (reason := launcher_error(str(chosen))):
                yield reason


def _sweep_problems(override: Override, *, is_search: bool) -> Iterator[str]:
    """Yield a line for a sweep without values, or one from which only a search can draw."""
    text, value = override.input_line, override.value()
    if isinstance(value, IntervalSweep) and not is_search:
        yield f"{text}: an interval is for sweep=optuna. Expected values, such as a,b"
    elif isinstance(value, RangeSweep) and not isinstance(value, IntervalSweep) and not value.step:
        yield f"{text}: a step of 0"
    elif not (found := values(override)):
        yield f"{text}: no value; a range ends before its stop"
    elif len(found) > MAX_VALUES:
        yield f"{text}: more than {MAX_VALUES:,} values"
    elif any(isinstance(each, Sweep) for each in found):
        yield f"{text}: a sweep within a sweep. Type all values in one choice(...)"


def _apply(override: Override, cfg: DictConfig, value: Any) -> Iterator[str]:
    """Set a key as an override does, or yield why it cannot be set."""
    key, text = override.key_or_group, str(override.input_line)
    exists = _exists(cfg, key)
    if override.package is not None or (not exists and not override.is_add()):
        yield f"{text}: no such key{suggest_key(key, cfg)}"
    elif override.is_delete():
        if value is not None:
            yield f"{text}: removed without a value. Type ~{key}"
        else:
            parent, _, name = key.rpartition(".")
            with open_dict(cfg):
                del OmegaConf.select(cfg, parent)[name]
    elif override.is_sweep_override() and key.startswith("hydra."):
        yield f"{text}: several values of a key of Hydra. Expected one; type [a,b] for a list"
    elif exists and override.is_add() and not override.is_force_add():
        yield f"{text}: exists. Type {text.lstrip('+')}"
    else:
        try:
            OmegaConf.update(cfg, key, value, merge=not isinstance(value, list), force_add=override.is_add())
        except (OmegaConfBaseException, ValueError, OverflowError) as error:  # of Python: a number too large
            yield f"{key}={format_value(value)}: {str(error).splitlines()[0]}"


def _exists(cfg: DictConfig, key: str) -> bool:
    """Return whether a key exists, even if its value is missing or cannot be resolved."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent, throw_on_missing=False) if parent else cfg
    if isinstance(node, ListConfig):
        return name.isdigit() and int(name) < len(node)
    return isinstance(node, DictConfig) and name in node.keys()  # noqa: SIM118, `in` skips missing values
