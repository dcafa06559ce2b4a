"""The command line, checked against the schema before Hydra makes a folder and before torch is loaded."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fashion_mlp import processes, resumption
from fashion_mlp.config import LayersConfig, SearchConfig
from fashion_mlp.errors import UserError
from fashion_mlp.suggestions import nearest, nearest_key
from fashion_mlp.sweep.launchers import why_not
from fashion_mlp.sweep.resume import resumed
from fashion_mlp.validation import expected_type, has_validation, impossible, key_out_of_range, out_of_range, shown

LAYERS = tuple(f"model.{field.name}" for field in fields(LayersConfig))
COMBINED = ("logger",)
"""Groups of which several options go together, as in logger=[tensorboard,csv]."""


def check(argv: Sequence[str], config_dir: Path, config_name: str = "train") -> list[str]:
    """Report everything that is wrong with a command line at once.

    Args:
        argv: what was typed after `python train.py`.
        config_dir: the absolute path of `conf/`.
        config_name: the primary config.

    Returns:
        The command line to run: `argv`, or that of the run or sweep which `resume` or `resume_sweep` names.

    Raises:
        UserError: a line for each unknown key or option, wrong type, value out of range, or impossible combination.
    """
    argv = resumption.resumed(resumed(argv))
    args = get_args_parser().parse_args(argv)
    if args.help or args.hydra_help or args.shell_completion or args.config_path or args.config_name:
        return argv  # nothing is run, or it is somebody else's configuration, which is Hydra's business
    problems: dict[str, None] = {}  # in order, each once
    overrides = list(_parse(args.overrides, problems))
    folders = [config_dir, *([Path(args.config_dir).resolve()] if args.config_dir else [])]
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        groups: list[Override] = []
        values: list[Override] = []
        for override in overrides:
            if override.key_or_group == "hydra/launcher" and (reason := why_not(str(override.value()))):
                raise UserError(reason)
            options = _options(override.key_or_group, folders)
            unknown = list(_unknown_options(override, options) if options else ())
            problems.update(dict.fromkeys(unknown))
            if not unknown:
                (groups if options else values).append(override)
        search_path = f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders[1:])}]"
        chosen = [[_chosen(group, value) for value in _values(group)] for group in groups]
        # In a sweep each combination of options has keys of its own; values are tried one by one.
        for combination in product(*chosen):
            problems.update(
                dict.fromkeys(_check_values(config_name, [search_path, *combination], groups, values, args.multirun))
            )
    if problems:
        raise UserError(*problems)
    return argv


def without_folder(argv: Sequence[str]) -> list[str]:
    """Return a command line whose run makes no folder and writes no log, for a process that is not a run's first.

    By itself Hydra would give each process a folder, named by another microsecond.
    """
    overrides = get_args_parser().parse_intermixed_args(list(argv)).overrides
    # Lightning appends overrides to what was typed, but Hydra takes flags only before or after all of them.
    flags = [argument for argument in argv if argument not in overrides]
    return [*flags, *overrides, "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]


def _parse(texts: Sequence[str], problems: dict[str, None]) -> Iterator[Override]:
    parser = OverridesParser.create()
    for text in texts:
        try:
            yield parser.parse_override(text)
        except HydraException:
            problems[f"{text}: cannot be read; write key=value, quote the whole for the shell, lists as [a,b]"] = None


def _options(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the options of a config group; none if there is no such group, or it is Hydra's, to which plugins add."""
    if _is_hydras(group):
        return []
    files = [path for folder in folders for path in (folder / group).glob("*.yaml")]
    return [path.stem for path in files if not path.stem.startswith("_")]


def _values(override: Override) -> list[Any]:
    """Return what an override sets: one value, or each one of a sweep."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return list(override.sweep_iterator()) if override.is_sweep_override() else [value]


def _unknown_options(group: Override, names: Sequence[str]) -> Iterator[str]:
    for chosen in _values(group):
        if isinstance(chosen, list) and group.key_or_group not in COMBINED:
            yield f"{group.key_or_group}={shown(chosen)}: takes one option; a sweep over several is written a,b"
            continue
        for value in chosen if isinstance(chosen, list) else [chosen]:
            if value is not None and value not in names:  # null leaves a group out, where that is possible
                yield f"{group.key_or_group}={shown(chosen)}: no such option{nearest(str(value), names)}"


def _chosen(group: Override, value: Any) -> str:
    return f"{group.get_key_element()}={shown(value) if isinstance(value, list) else value}"


def _check_values(
    config_name: str,
    options: Sequence[str],
    groups: Sequence[Override],
    overrides: Sequence[Override],
    multirun: bool,
) -> Iterator[str]:
    rest = [str(override.input_line) for override in overrides if not _sets_known_key(override)]
    try:
        cfg = compose(config_name, overrides=[*options, *rest], return_hydra_config=True)
    except (CompactHydraException, OmegaConfBaseException) as error:
        blamed = [*rest, *options[1:]]
        yield f"{' '.join(blamed) or 'conf/'}: {str(error).splitlines()[0]}"
        return
    hydra = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    multirun = multirun or hydra.mode == RunMode.MULTIRUN
    searching = OmegaConf.get_type(hydra.sweeper) is SearchConfig
    typed = {override.key_or_group for override in [*groups, *overrides]}
    layers = OmegaConf.create({"model": LayersConfig} if searching and "hidden_sizes" in cfg.model else {})
    for override in [*overrides, *_params(hydra, typed)]:
        key = override.key_or_group
        place = layers if layers and override.is_sweep_override() and key in LAYERS else cfg
        is_taken = key == "hydra.run.dir" and Path(str(override.value()), "checkpoints").exists()
        if is_taken and processes.is_first() and resumption.KEY not in typed:
            yield (
                f"{override.input_line}: holds a run already; go on with it by resume={override.value()}, or name "
                "another folder"
            )
        elif override.is_add() and not _may_have(cfg, key):
            yield f"{override.input_line}: no such key{nearest_key(key, cfg)}"
        elif not _sets_known_key(override):
            continue
        elif not _has(place, key):
            yield f"{override.input_line}: no such key{nearest_key(key, cfg)}"
        elif multirun or not override.is_sweep_override():
            yield from _set(place, key, _values(override))
    if not multirun:
        yield from _need_multirun([*groups, *overrides])
    if searching:
        yield from out_of_range(hydra.sweeper, "hydra.sweeper.")
        yield from _not_to_be_searched(cfg, typed)
    yield from out_of_range(cfg)
    yield from impossible(cfg, multirun)


def _params(hydra: DictConfig, typed: Collection[str]) -> Iterator[Override]:
    """Yield the sweeps that come with a configuration, as far as they are not of groups or typed anew."""
    params = OmegaConf.select(hydra, "sweeper.params") or {}
    for override in OverridesParser.create().parse_overrides([f"{key}={text}" for key, text in params.items()]):
        if override.key_or_group not in typed and override.key_or_group not in hydra.runtime.choices:
            yield override


def _not_to_be_searched(cfg: DictConfig, typed: Collection[str]) -> Iterator[str]:
    if not has_validation(cfg):
        yield "data.val_size=0: a search chooses by val/acc; hold images out to validate on"
    if cfg.model.get("hidden_sizes") == [] and "model.hidden_sizes" not in typed:
        yield "sweep=optuna: would add hidden layers to this model; write model.hidden_sizes=[] to have none"


def _need_multirun(overrides: Sequence[Override]) -> Iterator[str]:
    for override in overrides:
        if override.is_sweep_override():
            yield f"{override.input_line}: several values are a sweep, which needs -m; a list is written [a,b]"


def _set(cfg: DictConfig, key: str, values: Sequence[Any]) -> Iterator[str]:
    """Try each value of a sweep; the first one stays, for the next overrides."""
    for value in reversed(values):
        try:
            with open_dict(cfg):
                OmegaConf.update(cfg, key, value, merge=not isinstance(value, list))
        except OmegaConfBaseException as error:
            yield f"{key}={shown(value)}: {expected_type(cfg, key, error)}"
        else:
            yield from _problems_at(cfg, key)


def _problems_at(cfg: DictConfig, key: str) -> Iterator[str]:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(node, DictConfig):
        yield from key_out_of_range(node, name, f"{parent}." if parent else "")
    else:
        yield from _problems_at(cfg, parent)


def _sets_known_key(override: Override) -> bool:
    """Return whether an override is a plain `key=value` of the run: not `+`, `~` or a key of Hydra itself."""
    return not (override.is_add() or override.is_delete() or _is_hydras(override.key_or_group))


def _is_hydras(key: str) -> bool:
    return key.startswith(("hydra.", "hydra/"))


def _may_have(cfg: DictConfig, key: str) -> bool:
    """Return whether a new key could be used where `+` puts it: a place with a schema knows all of its keys."""
    parent, _, name = key.rpartition(".")
    schema = OmegaConf.get_type(OmegaConf.select(cfg, parent) if parent else cfg)
    return _is_hydras(key) or not is_dataclass(schema) or name in {entry.name for entry in fields(schema)}


def _has(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(node, ListConfig):
        return name.isdigit() and int(name) < len(node)
    return isinstance(node, DictConfig) and name in node.keys()  # noqa: SIM118, `in` skips missing values
