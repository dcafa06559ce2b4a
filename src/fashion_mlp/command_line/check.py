"""The command line, checked against the schema before Hydra makes a folder and before torch is loaded."""

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError

from fashion_mlp import processes, resume
from fashion_mlp.command_line import flags, keys, quoting
from fashion_mlp.command_line.combinations import has_validation, impossible
from fashion_mlp.command_line.folders import folder_problems
from fashion_mlp.command_line.groups import Groups, is_hydras, sweep_problems, values
from fashion_mlp.config import LayersConfig, SearchConfig
from fashion_mlp.errors import UserError
from fashion_mlp.suggestions import nearest, shown
from fashion_mlp.sweep.resume import resumed
from fashion_mlp.validation import out_of_range, unresolved

LAYERS = tuple(f"model.{field.name}" for field in fields(LayersConfig))


def check(argv: Sequence[str], config_dir: Path, config_name: str = "train") -> list[str]:
    """Report everything that is wrong with a command line at once.

    Args:
        argv: what was typed after `python train.py`.
        config_dir: the absolute path of `conf/`.
        config_name: the primary config.

    Returns:
        The command line to run: `argv`, its flags first, or that of the run or sweep which `resume` or `resume_sweep`
        names.

    Raises:
        UserError: a line for each unknown key or option, wrong type, value out of range, or impossible combination.
    """
    argv = flags.first(resume.expand_resume(resumed(argv)))
    args = flags.parse(argv)
    if args.config_name and not (args.config_path or args.config_dir):
        names = [path.stem for path in config_dir.glob("*.yaml")]
        if args.config_name.removesuffix(".yaml") not in names:
            name = args.config_name
            raise UserError(f"--config-name {name}: no such file in {config_dir.name}/{nearest(name, names)}")
    if args.help or args.hydra_help or args.shell_completion or args.config_path or args.config_name:
        return argv  # nothing is run, or it is somebody else's configuration, which is Hydra's business
    if args.config_dir and not Path(args.config_dir).is_dir():
        raise UserError(f"--config-dir {args.config_dir}: there is no such folder")
    folders = [config_dir, *([Path(args.config_dir).resolve()] if args.config_dir else [])]
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = Groups(folders, loader)
        overrides, told = quoting.read(args.overrides, loader, groups.by_option)
        problems = dict.fromkeys(told)  # in order, each once
        options: list[Override] = []
        settings: list[Override] = []
        for override in overrides:
            if groups.options(override.key_or_group):
                wrong = list(groups.problems(override))
                problems.update(dict.fromkeys(wrong))
                if not wrong:
                    options.append(override)
            else:
                settings.append(override)
        search_path = f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders[1:])}]"
        chosen = [[_chosen(option, value) for value in values(option)] for option in options]
        # In a sweep each combination of options has keys of its own; values are tried one by one.
        for combination in product(*chosen):
            try:
                cfg = compose(config_name, overrides=[search_path, *combination], return_hydra_config=True)
            except (CompactHydraException, OmegaConfBaseException) as error:
                problems[f"{' '.join(combination) or 'conf/'}: {str(error).splitlines()[0]}"] = None
            except MarkedYAMLError as error:
                place = error.problem_mark
                where = f"{place.name}, line {place.line + 1}" if place else " ".join(combination)
                problems[f"{where}: is no YAML ({error.problem}); correct what stands there"] = None
            else:
                problems.update(dict.fromkeys(_wrong_with(cfg, options, settings, args.multirun)))
    if problems:
        raise UserError(*problems)
    return argv


def without_folder(argv: Sequence[str]) -> list[str]:
    """Return a command line whose run makes no folder and writes no log, for a process that is not a run's first.

    By itself Hydra would give each process a folder, named by another microsecond.
    """
    # Lightning appends overrides to what was typed, but Hydra takes flags only before or after all of them.
    return [*flags.first(argv), "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]


def _chosen(option: Override, value: Any) -> str:
    return f"{option.get_key_element()}={shown(value)}"


def _wrong_with(
    cfg: DictConfig, options: Sequence[Override], settings: Sequence[Override], multirun: bool
) -> Iterator[str]:
    """Yield a line for each problem of a composed configuration once the settings are put into it."""
    searching = OmegaConf.get_type(cfg.hydra.sweeper) is SearchConfig
    typed = {override.key_or_group for override in settings}
    hydras = [override for override in settings if is_hydras(override.key_or_group)]
    for override in hydras:
        if override.is_sweep_override():
            yield f"{override.input_line}: a key of Hydra's own takes one value; a list is written [a,b]"
        else:
            yield from keys.apply(override, cfg, [override.value()])
    hydra = cfg.hydra
    multirun = multirun or hydra.mode == RunMode.MULTIRUN
    own = [override for override in settings if override not in hydras]
    swept = yield from _apply([*own, *_params(hydra, typed)], cfg, multirun=multirun, searching=searching)
    for option in options:
        if option.is_sweep_override() and not multirun:
            yield f"{option.input_line}: several values are a sweep, which needs -m; a list is written [a,b]"
    if processes.is_first():
        yield from folder_problems(cfg, multirun=multirun, resumed=resume.KEY in typed)
    if searching:
        yield from out_of_range(hydra.sweeper, "hydra.sweeper.")
    with open_dict(cfg):
        del cfg["hydra"]
    has_references = any("${" in str(override.input_line) for override in settings)
    for number, job in enumerate(_jobs(cfg, swept)):
        # What does not refer to another key is checked by `keys.apply` already.
        if number == 0 or has_references:
            lines = list(unresolved(job))
            yield from _of_typed(lines or list(out_of_range(job)), typed)
            if lines:
                continue
        yield from _conflicts(job, typed, multirun=multirun, searching=searching)


def _apply(
    overrides: Sequence[Override], cfg: DictConfig, *, multirun: bool, searching: bool
) -> Generator[str, None, list[Override]]:
    """Apply overrides, of a sweep its first value; yield a line for each mistake, and return the sweeps without one."""
    layers = OmegaConf.create({"model": LayersConfig} if searching and "hidden_sizes" in cfg.model else {})
    swept = []
    for override in overrides:
        is_sweep = override.is_sweep_override()
        if is_sweep and (empty := list(sweep_problems(override, searching=searching))):
            yield from empty
        elif is_sweep and not multirun:
            yield f"{override.input_line}: several values are a sweep, which needs -m; a list is written [a,b]"
        elif layers and is_sweep and override.key_or_group in LAYERS:
            yield from keys.apply(override, layers, values(override))
        else:
            wrong = list(keys.apply(override, cfg, values(override)))
            yield from wrong
            if is_sweep and not wrong:
                swept.append(override)
    return swept


def _jobs(cfg: DictConfig, swept: Sequence[Override]) -> Iterator[DictConfig]:
    """Yield a configuration with the first value of each sweep, then one for each other value of each sweep."""
    yield cfg
    for override in swept:
        key, (first, *others) = override.key_or_group, values(override)
        for value in others:
            keys.update(cfg, key, value, may_add=override.is_add())
            yield cfg
        keys.update(cfg, key, first, may_add=override.is_add())


def _conflicts(cfg: DictConfig, typed: Collection[str], *, multirun: bool, searching: bool) -> Iterator[str]:
    if searching:
        yield from _not_to_be_searched(cfg, typed)
    with suppress(MissingMandatoryValue):  # reported already
        yield from impossible(cfg, multirun)


def _of_typed(lines: Sequence[str], typed: Collection[str]) -> Sequence[str]:
    """Return the lines about keys that were typed: another key may only refer to one of them. Return all if none is."""
    starts = tuple(f"{key}{mark}" for key in typed for mark in ".:=")
    return [line for line in lines if line.startswith(starts)] or lines


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
