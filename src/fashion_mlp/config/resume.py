"""Resume an interrupted run or sweep: `python train.py resume=DIR` or `resume_sweep=DIR`.

`python train.py hydra.run.dir=DIR resume=auto` starts a run, or resumes it if the directory holds it.

The overrides that were recorded in the directory are replayed. A run may change a few of its keys; the rest of its
configuration must equal the recorded one.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config import records
from fashion_mlp.config.command_line import hydra_quote, parse_flags, parse_override
from fashion_mlp.config.messages import format_count, format_value
from fashion_mlp.config.monitoring import objective_value
from fashion_mlp.config.records import HYDRA_DIR, SWEEP_CONFIG, read_result
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.ranks import is_rank_zero
from fashion_mlp.runtime.run_directory import CHECKPOINTS, LAST, lock, relative_to_cwd, remove_written

log = logging.getLogger(__name__)

# Keys that a resumed run may change: they do not change the weights after a given number of epochs. Custom images may
# have moved; `InitialCheckpoint.restore_weights` compares the files.
OVERRIDABLE = (
    *("data.annotations_file", "data.val_annotations_file", "data.test_annotations_file"),
    *("data.img_dir", "data.val_img_dir", "data.test_img_dir"),
    *("checkpoint.every_n_seconds", "checkpoint.every_n_steps", "data.num_workers", "data.root"),
    *("cuda_graph", "test", "trainer.max_epochs"),
)
NOT_COMPARED = ("resume", "run_dir")
# Overrides that depend on the directory.
REPLACED = ("hydra.run.dir=", "hydra.output_subdir=", "hydra.mode=", "hydra.sweep.dir=")


def expand_resume(argv: Sequence[str]) -> list[str]:
    """Return the command line that replays the run or sweep which `resume` or `resume_sweep` names; else `argv`.

    Overrides of Hydra keys may be added, such as another launcher. The replayed command does what the recorded one
    did, so the directory must be trusted.

    Raises:
        UserError: there is no such run or sweep.
    """
    args = parse_flags(argv)
    named = [text for text in args.overrides if re.match(r"resume(_sweep)?=(?!null$)", text)]
    if not named or args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        return list(argv)
    key, added = named[0].partition("=")[0], [text for text in args.overrides if text not in named]
    if key == "resume" and args.multirun:
        raise UserError(f"{named[0]}: resumes a single run. Type it without -m, or resume_sweep=DIR for a sweep")
    if named[0] == "resume=auto":
        path = _value(added, "hydra.run.dir")
        if not path or "${" in path:  # it may change from one call to the next
            raise UserError("resume=auto: finds the run by its directory. Type hydra.run.dir=DIR")
        if not _is_started(Path(path)):
            return [text for text in argv if text not in named]
    else:
        path = _value(named[:1], key)
        if not path or not Path(path).is_dir():
            kind = "run" if key == "resume" else "sweep"
            raise UserError(f"{key}={path}: no such directory. Expected that of a {kind}")
    return (_replay_run if key == "resume" else _replay_sweep)(Path(path), added)


def _value(overrides: Sequence[str], key: str) -> str:
    """Return the value of the last override of a key as text; an empty string if there is none."""
    text = next((text for text in reversed(overrides) if text.startswith(f"{key}=")), "")
    override = parse_override(text)
    return str(override.value()) if override else text.partition("=")[2]


def _is_started(directory: Path) -> bool:
    """Return whether a run or sweep has started in a directory; remove the files of a run that ended before.

    Raises:
        UserError: a run in the directory is starting.
    """
    if records.load_record(directory) or any((directory / CHECKPOINTS).glob("*")):
        return True
    if (directory / CHECKPOINTS).is_dir() and is_rank_zero():
        with lock(directory):
            remove_written([*(directory / HYDRA_DIR).glob("*.yaml"), directory / CHECKPOINTS])
    return (directory / SWEEP_CONFIG).exists()


def _replay_run(directory: Path, added: Sequence[str]) -> list[str]:
    record = records.load_record(directory)
    if record is None:
        if (directory / SWEEP_CONFIG).exists():
            raise UserError(f"resume={directory}: holds a sweep. Type resume_sweep={directory}")
        raise UserError(f"resume={directory}: no record of a run ({HYDRA_DIR} is missing or damaged). Start a new run")
    hydra, overrides = record
    place = [f"hydra.run.dir={hydra_quote(directory)}", "hydra.output_subdir=null", "hydra.mode=RUN"]
    replayed = [*_hydra_arguments(hydra, REPLACED), *_latest(overrides), *place]
    changed = [text for text in _latest(added) if text not in replayed]
    return [*replayed, *changed, f"resume={hydra_quote(directory)}"]


def _latest(overrides: Sequence[str]) -> list[str]:
    """Return the last override of each key."""
    return list({text.partition("=")[0]: text for text in overrides}.values())


def _replay_sweep(directory: Path, added: Sequence[str]) -> list[str]:
    if others := [text for text in added if not text.startswith(("hydra.", "hydra/"))]:
        remedy = "Remove it, or start a new sweep"
        raise UserError(f"{' '.join(others)}: not supported with resume_sweep={directory}. {remedy}")
    hydra = records.load_hydra_config(directory / SWEEP_CONFIG)
    if hydra is None:
        raise UserError(f"resume_sweep={directory}: no record of a sweep ({SWEEP_CONFIG} is missing or damaged)")
    has_launcher = any(text.startswith("hydra/launcher=") for text in added)
    replaced = (*REPLACED, "hydra/launcher=", "hydra.launcher.") if has_launcher else REPLACED
    place = f"hydra.sweep.dir={hydra_quote(directory)}"
    return ["--multirun", *_hydra_arguments(hydra, replaced), *hydra["overrides"]["task"], place, *added]


def _hydra_arguments(hydra: Any, replaced: tuple[str, ...]) -> list[str]:
    """Return the flags and overrides of Hydra in a recorded command line, without those that are replaced."""
    flags = [] if hydra["job"]["config_name"] == "train" else ["--config-name", hydra["job"]["config_name"]]
    flags += [part for path in records.config_dirs(hydra) for part in ("--config-dir", path)]
    return flags + [text for text in hydra["overrides"]["hydra"] if not text.startswith(replaced)]


def start_or_resume(cfg: DictConfig, hydra_cfg: HydraConf, train: Callable[..., float]) -> float:
    """Start a run, or resume the one that `cfg.resume` names, unless it is complete.

    Args:
        cfg: the configuration; of a resumed run, composed from the recorded overrides and the added ones.
        hydra_cfg: Hydra's part of it.
        train: `fashion_mlp.training.train`.

    Returns:
        The result of `train`, or the objective of a complete run.

    Raises:
        UserError: the configuration differs from the recorded one in more than the keys in `OVERRIDABLE`.
    """
    directory = Path(hydra_cfg.runtime.output_dir)
    overrides = [text for text in records.task_overrides(hydra_cfg) if not text.startswith("resume=")]
    if cfg.resume is not None:
        recorded = records.load_yaml(directory / HYDRA_DIR / "config.yaml")
        current: Any = OmegaConf.to_container(OmegaConf.create(records.freeze_environment(OmegaConf.to_yaml(cfg))))
        if problems := list(dict.fromkeys(_problems(relative_to_cwd(directory), recorded, current, overrides))):
            raise UserError(*problems)
        result = read_result(directory)
        is_longer = cfg.trainer.max_epochs != recorded["trainer"]["max_epochs"]
        if result and (result.get("stopped_early") or not is_longer):
            return _report_complete(relative_to_cwd(directory), result)
    record = partial(records.save_config, directory, cfg, overrides)
    return train(cfg, overrides, resumed=cfg.resume is not None, before_first_write=record)


def _report_complete(directory: Path, result: Mapping[str, Any]) -> float:
    """Log that a run is complete, and return its objective."""
    objective, epochs = objective_value(result), format_count(result["epochs"], "epoch")
    log.info(f"{directory}: complete, with {result['objective']} {objective:.4f} after {epochs}")
    if stopped := result.get("stopped_early"):
        remedy = f"start a new run with ckpt_path={directory / CHECKPOINTS / LAST}, or without early stopping"
        log.info(f"stopped early: {stopped} To train longer, {remedy}")
    return objective


def _problems(directory: Path, recorded: Any, current: Mapping[str, Any], typed: Sequence[str]) -> Iterator[str]:
    """Yield a line for each key that differs from the recorded one and would change the course of the run."""
    new_run = f"Start a new run with its weights: ckpt_path={directory / CHECKPOINTS / LAST} ckpt_restore=weights"
    for key, before, now in records.differences(recorded, current):
        by_override = [text for text in typed if f"{key}.".startswith(f"{text.partition('=')[0].lstrip('+~')}.")]
        if key == "trainer.max_epochs":
            text = f"{key}={format_value(now)}"
            if not (type(before) is int and type(now) is int and 0 < before < now):
                yield f"{text}: the run has {key}={format_value(before)}. Expected a larger number, or the same"
            elif planned := _planned_for_length(current):
                yield f"{text}: {planned} was planned for {key}={before}. {new_run}"
        elif key in (*OVERRIDABLE, *NOT_COMPARED):
            continue
        elif by_override:
            yield f"{by_override[-1]}: cannot be changed. Resume accepts {', '.join(OVERRIDABLE)}"
        elif records.ABSENT in (before, now):
            yield f"resume={directory}: recorded by another version, with other keys ({key}). {new_run}"
        else:
            value = format_value(before)
            yield f"{key}={format_value(now)}: {directory} was started with {value}. Type {key}={value}"


def _planned_for_length(config: Mapping[str, Any]) -> str:
    """Return the key or section that depends on the length of a run; an empty string if there is none."""
    if (config["data"].get("augment") or {}).get("off_fraction"):
        return "data.augment.off_fraction"
    scheduler = config["scheduler"]
    is_planned = scheduler and getattr(resolve_name(str(scheduler["_target_"])), "depends_on_length", True)
    return "the schedule" if is_planned else ""
