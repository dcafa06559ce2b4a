"""Runs from a notebook or script: `train(compose("experiment=fast"))` does what `python train.py` does."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.check_command_line import check_overrides
from fashion_mlp.config.command_line import initialize_hydra, normalize, parse_flags
from fashion_mlp.config.records import read_result
from fashion_mlp.config.resume import expand_resume, start_or_resume
from fashion_mlp.runtime.console import restore_logging
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import remove_unless_started
from fashion_mlp.runtime.signals import Interrupted


@dataclass(frozen=True)
class CompletedRun:
    """A run that has ended.

    Args:
        directory: its run directory.
        metrics: the content of its `metrics.json`.
        checkpoint: the checkpoint that was tested; None if none was saved.
    """

    directory: Path
    metrics: dict[str, Any]
    checkpoint: Path | None


def compose(*overrides: str) -> DictConfig:
    """Compose the configuration of a run from overrides as `train.py` takes them, such as "optimizer.lr=1e-3".

    Returns:
        The configuration, read-only, with Hydra's own keys below `hydra`.

    Raises:
        UserError: with a line for each mistake.
    """
    args = parse_flags(expand_resume(normalize(overrides)))
    with initialize_hydra():
        check_overrides(args.overrides, multirun=args.multirun)
        cfg = None if args.multirun else hydra.compose("train", overrides=args.overrides, return_hydra_config=True)
    if cfg is None or cfg.hydra.mode == RunMode.MULTIRUN:
        raise UserError(f"{' '.join(overrides)}: a sweep. Run it on the command line: python train.py -m ...")
    OmegaConf.set_readonly(cfg, True)
    return cfg


def train(cfg: DictConfig) -> CompletedRun:
    """Run a configuration of `compose` in a new directory below `runs/`, or resume the run that it names.

    Raises:
        UserError: a problem that the user can solve.
        KeyboardInterrupt: by Ctrl-C or the interruption of a notebook, after saving the state.
    """
    overrides = [*cfg.hydra.overrides.hydra, *cfg.hydra.overrides.task]
    with initialize_hydra(), restore_logging(), remove_unless_started():
        app: Any = GlobalHydra.instance().hydra
        try:
            result: CompletedRun = app.run("train", _run, overrides).return_value
        except Interrupted as interrupted:
            if interrupted.signum != signal.SIGINT:
                raise
            raise KeyboardInterrupt(interrupted.message) from None
        except SystemExit as error:  # from a Hydra callback
            raise UserError(str(error.code).removeprefix("error: ")) from None
    return result


def _run(cfg: DictConfig) -> CompletedRun:
    from fashion_mlp import training  # imports torch

    start_or_resume(cfg, HydraConfig.get(), training.train)
    directory = Path(HydraConfig.get().runtime.output_dir)
    metrics = read_result(directory) or {}
    checkpoint = metrics.get("checkpoint")
    return CompletedRun(directory, metrics, directory / checkpoint if checkpoint else None)
