"""An interrupted run goes on: `python train.py resume=FOLDER`. Light to import: what cannot work is told at once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from fashion_mlp import processes
from fashion_mlp.atomic import replacing
from fashion_mlp.command_line import flags, keys
from fashion_mlp.errors import UserError
from fashion_mlp.run_folder import quoted
from fashion_mlp.sweep.records import METRICS, objective_in, result_in
from fashion_mlp.validation import unresolved

log = logging.getLogger(__name__)

Train = Callable[[DictConfig, Sequence[str], bool], float]

KEY = "resume"
CONFIG = ".hydra/config.yaml"
OVERRIDES = ".hydra/overrides.yaml"
ALLOWED = (
    "checkpoint.every_n_seconds",
    "checkpoint.every_n_steps",
    "data.num_workers",
    "data.root",
    "test",
    "trainer.max_epochs",
)
"""What may be set anew: it does not change which weights a number of epochs leads to."""
WHOLE_RUN = ("cosine", "onecycle")
"""Schedules whose course depends on the length of the whole run."""


def resumed(argv: Sequence[str]) -> list[str]:
    """Return the command line for Hydra of a run that `resume` names: its folder, and no new record; else `argv`.

    Raises:
        UserError: there is no such run, or an override would change its course.
    """
    asked = flags.resumption(argv, KEY)
    if asked is None:
        return list(argv)
    if asked.multirun:
        raise UserError(f"{asked.text}: one run goes on at a time, without -m; a whole sweep with resume_sweep=FOLDER")
    name = asked.folder.strip("'\"")
    if not name:
        raise UserError(f"{asked.text}: name the folder of the run")
    folder = Path(name)
    problems = list(_problems(folder, asked.others))
    if problems:
        raise UserError(*problems)
    kept = [text for text in asked.hydras if not text.startswith(("hydra.run.dir=", "hydra.output_subdir="))]
    place = [f"hydra.run.dir={quoted(folder)}", "hydra.output_subdir=null"]
    return [f"{KEY}={quoted(folder)}", *asked.others, *kept, *place]


def saved(cfg: DictConfig, typed: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Return the configuration that a run was begun with, less what was typed anew, and all of its overrides.

    Args:
        cfg: composed from what was typed at resumption.
        typed: that.

    Raises:
        UserError: what was typed anew cannot be written down, or a value refers to nothing.
    """
    folder = Path(cfg.resume)
    config = _read(folder / CONFIG)
    anew = [text for text in typed if not text.startswith(f"{KEY}=")]
    is_longer = cfg.trainer.max_epochs != config.trainer.max_epochs and "trainer.max_epochs" in _keys(anew)
    for key in _keys(anew):
        OmegaConf.update(config, key, OmegaConf.select(cfg, key))
    if lines := list(unresolved(config)):
        raise UserError(*lines)
    before: Any = OmegaConf.to_container(_read(folder / OVERRIDES) or OmegaConf.create([]), resolve=False)
    overrides = [*before, *anew]
    if anew and processes.is_first():  # so that another resumption knows of it
        try:
            if is_longer:
                (folder / METRICS).unlink(missing_ok=True)  # which says that the run is complete
            for name, content in ((CONFIG, config), (OVERRIDES, OmegaConf.create(overrides))):
                with replacing(folder / name) as file:
                    file.write(OmegaConf.to_yaml(content).encode())
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({error.strerror}); make it writable, or free space"
            ) from error
    return config, overrides


def record_environment(cfg: DictConfig, folder: Path) -> None:
    """Replace references to environment variables by their values, also in the record of a run, except for text.

    When the run is resumed, a variable may have changed, and without the schema its value would be read as text. A
    path or a password stays a reference.
    """
    found = [(node, name) for node, name in _environment(cfg) if not isinstance(node[name], str)]
    for node, name in found:
        node[name] = node[name]
    if found and (folder / CONFIG).exists():
        with replacing(folder / CONFIG) as file:
            file.write(OmegaConf.to_yaml(cfg).encode())


def _environment(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value that refers to an environment variable, as its container and its name there."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    names: Any = node.keys() if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        child: Any = node._get_node(name)
        if not child._is_interpolation():
            yield from _environment(child)
        elif "${oc.env:" in child._value():
            yield node, name


def go_on(cfg: DictConfig, typed: Sequence[str], train: Train) -> float:
    """Go on with the run that `cfg.resume` names, unless it is complete.

    Args:
        cfg: composed from what was typed at resumption.
        typed: that.
        train: takes a configuration, its overrides, and whether a run is resumed.

    Returns:
        What `train` returns.
    """
    config, overrides = saved(cfg, typed)
    result = result_in(Path(config.run_dir))
    if result is None:
        return train(config, overrides, True)
    objective = objective_in(result)
    log.info(f"{cfg.resume}: complete, with {objective} {result[objective]:.4f} after {result['epochs']} epochs")
    return float(result[objective])


def _problems(folder: Path, overrides: Sequence[str]) -> Iterator[str]:
    named = f"{KEY}={folder}"
    if not folder.is_dir():
        yield f"{named}: there is no such folder"
        return
    config = _read(folder / CONFIG)
    if config is None:
        if (folder / "multirun.yaml").exists():
            yield f"{named}: holds a sweep; go on with it by resume_sweep={folder}"
        else:
            yield f"{named}: holds no run that could go on (no {CONFIG} that can be read); start it anew"
        return
    for text, key in zip(overrides, _keys(overrides), strict=True):
        if key not in ALLOWED:
            yield f"{text}: would change the course of the run; {KEY} takes {', '.join(ALLOWED)} only"
        elif not (keys.has(config, key) or key.startswith("checkpoint.")):
            yield f"{text}: the run in {folder} has no such key"
        elif key == "trainer.max_epochs":
            yield from _other_length(config, text)


def _other_length(config: Any, text: str) -> Iterator[str]:
    before, now = config.trainer.max_epochs, text.partition("=")[2]
    if not now.isdigit():
        return  # told by the schema
    if before is not None and int(now) < before:
        yield f"{text}: the run is to have {before} epochs, which may be raised only"
    schedule = str((config.scheduler or {}).get("_target_")).rpartition(".")[2]
    fades = OmegaConf.select(config, "data.augment.off_last") or 0.0
    if int(now) != before and (schedule in WHOLE_RUN or fades):
        laid_out = "data.augment.off_last" if fades else f"scheduler={schedule}"
        yield (
            f"{text}: {laid_out} was laid out for {before} epochs; begin a new run with its weights, by "
            "ckpt_path=.../checkpoints/last.ckpt ckpt_part=weights"
        )


def _keys(overrides: Sequence[str]) -> list[str]:
    return [text.partition("=")[0] for text in overrides]


def _read(path: Path) -> Any:
    """Return what Hydra wrote of a run, its interpolations as they are; None if it cannot be read."""
    try:
        return OmegaConf.load(path)
    except (OSError, ValueError, yaml.YAMLError):
        return None
