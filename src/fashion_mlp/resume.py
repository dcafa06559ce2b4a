"""Resume an interrupted run: `python train.py resume=DIR`.

The overrides that Hydra recorded in the run directory are replayed, together with those that a resumed run may change.
The result must equal the recorded configuration. This module is light to import: a mistake is reported at once.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, ListConfig, OmegaConf

from fashion_mlp.atomic import replacing
from fashion_mlp.command_line import flags
from fashion_mlp.errors import UserError
from fashion_mlp.run_directory import hydra_quote, relative_to_cwd
from fashion_mlp.suggestions import shown
from fashion_mlp.sweep.records import METRICS, objective_in, result_in
from fashion_mlp.sweep.resume import read_record, recorded_flags

log = logging.getLogger(__name__)

KEY = "resume"
RECORD = ".hydra"
OVERRIDABLE = (
    "checkpoint.every_n_seconds",
    "checkpoint.every_n_steps",
    "data.num_workers",
    "data.root",
    "test",
    "trainer.max_epochs",
)
"""Keys that a resumed run may change: they do not change the weights after a given number of epochs."""
NOT_COMPARED = (KEY, "run_dir")
SPANS_RUN = ("cosine", "onecycle")
"""Schedules that depend on the length of the run."""


def expand_resume(argv: Sequence[str]) -> list[str]:
    """Return the command line that replays the run which `resume` names; `argv` if it names none.

    Raises:
        UserError: there is no such run.
    """
    request = flags.resumption(argv, KEY)
    if request is None:
        return list(argv)
    if request.multirun:
        raise UserError(f"{request.text}: resumes a single run, without -m. Resume a sweep with resume_sweep=DIR")
    folder = Path(request.folder.strip("'\""))
    if not request.folder:
        raise UserError(f"{request.text}: no directory. Type {KEY}=DIR with the directory of a run")
    if not folder.is_dir():
        raise UserError(f"{request.text}: no such directory")
    hydra, recorded = read_record(folder / RECORD / "hydra.yaml"), _read(folder / RECORD / "overrides.yaml")
    if hydra is None or not isinstance(recorded, list) or not all(isinstance(text, str) for text in recorded):
        raise UserError(_no_run(request.text, folder))
    replaced = ("hydra.run.dir=", "hydra.output_subdir=", "hydra.mode=", "hydra.sweep.dir=")
    kept = [text for text in (*hydra["overrides"]["hydra"], *request.hydras) if not text.startswith(replaced)]
    config = _read(folder / RECORD / "config.yaml")
    if not isinstance(config, dict):
        raise UserError(_no_run(request.text, folder))
    latest = {text.partition("=")[0]: _with_recorded_value(text, OmegaConf.create(config)) for text in recorded}
    changed = [text for text in request.others if text not in latest.values()]
    place = [f"hydra.run.dir={hydra_quote(folder)}", "hydra.output_subdir=null", "hydra.mode=RUN"]
    return [*recorded_flags(hydra), *kept, *place, *latest.values(), *changed, f"{KEY}={hydra_quote(folder)}"]


def resume(cfg: DictConfig, overrides: Sequence[str], train: Callable[..., float]) -> float:
    """Resume the run that `cfg.resume` names, unless it is complete.

    Args:
        cfg: composed from the recorded overrides and from those that were added.
        overrides: these.
        train: `fashion_mlp.training.train`.

    Returns:
        What `train` returns, or the objective of a complete run.

    Raises:
        UserError: the configuration differs from the recorded one in more than the keys in `OVERRIDABLE`.
    """
    folder = Path(to_absolute_path(cfg.resume))
    shown_folder = relative_to_cwd(folder)
    recorded = _read(folder / RECORD / "config.yaml")
    current: Any = OmegaConf.to_container(resolve_environment(cfg))
    typed = [text for text in overrides if not text.startswith(f"{KEY}=")]
    if problems := list(dict.fromkeys(_problems(shown_folder, recorded, current, typed))):
        raise UserError(*problems)
    result = result_in(Path(cfg.run_dir))
    is_longer = cfg.trainer.max_epochs != recorded["trainer"]["max_epochs"]
    if result is None or is_longer:
        return train(cfg, typed, resumed=True, before_fit=partial(record, folder, cfg, typed))
    objective = objective_in(result)
    log.info(f"{shown_folder}: complete, with {objective} {result[objective]:.4f} after {result['epochs']} epochs")
    return float(result[objective])


def _with_recorded_value(override: str, config: DictConfig) -> str:
    """Return an override with the value that an environment variable had when the run was started, if recorded."""
    key = override.partition("=")[0]
    if "${oc.env:" not in override:
        return override
    parent, _, name = key.lstrip("+").rpartition(".")
    value = (OmegaConf.select(config, parent) if parent else config)._get_node(name)
    return override if "${oc.env:" in str(value) else f"{key}={shown(OmegaConf.create([value])[0])}"


def resolve_environment(cfg: DictConfig) -> DictConfig:
    """Return a configuration with the values of environment variables instead of references to them, except for text.

    When a run is resumed, a variable may have changed. A path or a password stays a reference.
    """
    resolved = cfg.copy()
    for node, name in _environment_references(resolved):
        if not isinstance(node[name], str):
            node[name] = node[name]
    return resolved


def _environment_references(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value that refers to an environment variable, as its container and its name there."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    names: Any = node.keys() if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        child: Any = node._get_node(name)
        if not child._is_interpolation():
            yield from _environment_references(child)
        elif "${oc.env:" in child._value():
            yield node, name


def record(folder: Path, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Write the configuration and overrides of a run for its resumption, and remove the results that it continues from.

    Raises:
        UserError: the directory is not writable.
    """
    if not (folder / RECORD).is_dir():  # hydra.output_subdir=null: the run cannot be resumed
        return
    config = resolve_environment(cfg)
    config[KEY] = None
    try:
        (folder / METRICS).unlink(missing_ok=True)  # it marks a run as complete
        for name, content in (("config", config), ("overrides", OmegaConf.create(list(overrides)))):
            with replacing(folder / RECORD / f"{name}.yaml") as file:
                file.write(OmegaConf.to_yaml(content).encode())
    except OSError as error:
        raise UserError(f"{folder}: not writable ({error.strerror}). Make it writable, or free space") from error


def _no_run(typed: str, folder: Path) -> str:
    if (folder / "multirun.yaml").exists():
        return f"{typed}: holds a sweep. Resume it with resume_sweep={folder}"
    message = f"{typed}: holds no run that can be resumed ({RECORD} is missing or damaged). Start a new run"
    last = folder / "checkpoints" / "last.ckpt"
    return f"{message}, with ckpt_path={last} from its last state" if last.is_file() else message


def _problems(folder: Path, recorded: Any, current: Mapping[str, Any], typed: Sequence[str]) -> Iterator[str]:
    for key, before, now in _differences(recorded, current):
        if key in NOT_COMPARED:
            continue
        by_override = [text for text in typed if f"{key}.".startswith(f"{text.partition('=')[0].lstrip('+~')}.")]
        if key == "trainer.max_epochs":
            yield from _max_epochs_problems(before, now, current)
        elif key not in OVERRIDABLE and by_override:
            yield f"{by_override[-1]}: would change the course of the run; {KEY} takes {', '.join(OVERRIDABLE)} only"
        elif key not in OVERRIDABLE:
            yield f"{key}={shown(now)}: {folder} was started with {shown(before)}. Type {key}={shown(before)}"


def _differences(recorded: Any, current: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each key whose values differ, with both; a missing value is None."""
    if not (isinstance(recorded, dict) and isinstance(current, dict)):
        if recorded != current:
            yield key, recorded, current
        return
    for name in {**recorded, **current}:
        yield from _differences(recorded.get(name), current.get(name), f"{key}.{name}" if key else str(name))


def _max_epochs_problems(before: Any, now: Any, current: Mapping[str, Any]) -> Iterator[str]:
    text = f"trainer.max_epochs={shown(now)}"
    if not (type(before) is int and type(now) is int and 0 < before < now):
        yield f"{text}: the run has {shown(before)} epochs. Expected a larger number, or the same"
    schedule = str((current["scheduler"] or {}).get("_target_")).rpartition(".")[2]
    fades = current["data"].get("augment", {}).get("off_last")
    if schedule in SPANS_RUN or fades:
        planned = "data.augment.off_last" if fades else f"scheduler={schedule}"
        yield (
            f"{text}: {planned} was planned for {shown(before)} epochs. Start a new run with the weights of this one: "
            "ckpt_path=.../checkpoints/last.ckpt ckpt_part=weights"
        )


def _read(path: Path) -> Any:
    """Return the content of a YAML file, its interpolations as they are; None if it is missing or damaged."""
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
