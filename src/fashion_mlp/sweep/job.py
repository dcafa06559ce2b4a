"""A job of a sweep. It runs unless its directory holds its result, and resumes if it was interrupted.

The result is `metrics.json`, or `error.json` with the error of a failed job. Both contain the overrides, so that any
process can tell which job a directory belongs to.

Parallel jobs have a GPU each, if there are several. A job with several devices runs in a new process, in which
Lightning, torchrun or srun can start one process per device.
"""

import json
import logging
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.command_line import CONF, hydra_quote
from fashion_mlp.config.monitoring import metric_direction, objective_value
from fashion_mlp.config.records import METRICS_FILE, read_json, read_result, task_overrides
from fashion_mlp.config.schema import TrainerConfig
from fashion_mlp.runtime.console import ConsoleHandler
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.failures import importing_torch
from fashion_mlp.runtime.run_directory import lock, resolve
from fashion_mlp.runtime.signals import SIGNALS, Interrupted, handle

log = logging.getLogger(__name__)

ERROR = "error.json"
POLL_SECONDS = 0.5
# Variables of an srun that started the sweep. In its job, Lightning would wait for processes from that srun.
SLURM_STEP = ("SLURM_STEP_ID", "SLURM_STEPID")


def merge_options_once(loader: ConfigLoaderImpl) -> None:
    """Let Hydra merge the files of each choice of options once in a sweep, and set the other keys of a job in a copy.

    Hydra would read and merge all files for each job. It has no public way to keep the result.
    """
    load = loader.load_sweep_config
    merged: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        overrides = OverridesParser.create().parse_overrides(sweep_overrides)
        task = [override for override in overrides if not override.is_hydra_override()]
        values = [override for override in task if not loader.repository.group_exists(override.key_or_group)]
        options = tuple(str(override.input_line) for override in overrides if override not in values)
        if options not in merged:
            merged[options] = load(master_config, list(options))
        cfg = deepcopy(merged[options])
        loader._apply_overrides_to_config(values, cfg)
        cfg.hydra.overrides.task = [override.input_line for override in task]
        cfg.hydra.job.override_dirname = get_overrides_dirname(task, **cfg.hydra.job.config.override_dirname)
        return cfg

    loader.load_sweep_config = load_sweep_config  # type: ignore[method-assign]


def run_job(cfg: DictConfig, hydra_cfg: HydraConf, train: Callable[..., float]) -> float:
    """Run one job of a sweep, unless its directory holds its result.

    Args:
        cfg: the configuration of the job.
        hydra_cfg: Hydra's part of it.
        train: `fashion_mlp.training.train`.

    Returns:
        The objective; NaN if the job failed, since an exception would end the sweep before its leaderboard.
    """
    directory = resolve(cfg.run_dir)
    overrides = task_overrides(hydra_cfg)
    if parent_process() is not None:  # a worker, which shares the terminal with others
        ConsoleHandler.prefix = f"#{directory.name}  "
    try:
        result = read_result(directory)
        if result is None:
            (directory / ERROR).unlink(missing_ok=True)  # of an earlier attempt
            if needs_new_process(cfg, hydra_cfg):
                run_in_new_process(directory, hydra_cfg)
                return objective_value(read_json(directory / METRICS_FILE))
            with lock(directory), reserve_gpu(cfg, Path(hydra_cfg.sweep.dir)):
                return train(cfg, overrides, resumed=True)  # a job without last.ckpt starts at its first step
    except Exception as error:
        line = save_error(directory, overrides, error)
        log.error(f"error: {line}", exc_info=None if isinstance(error, UserError) else error)
        return math.nan
    if result.get("overrides") != overrides:
        sys.exit(f"error: {directory}: holds the result of another job. Choose another hydra.sweep.dir")
    log.info(f"done already: {result['objective']} {objective_value(result):.4f}")
    return objective_value(result)


def reserve_gpu(cfg: DictConfig, directory: Path) -> AbstractContextManager[object]:
    """Reserve one of several GPUs for a job that runs in a worker process and is to use one; wait until one is free.

    Args:
        cfg: the configuration of the job, whose `trainer.devices` becomes the GPU.
        directory: the directory of the sweep, for the locks with which its workers share the GPUs.

    Returns:
        A context that holds the GPU, at the latest until the process ends.
    """
    if parent_process() is None or cfg.trainer.devices != 1 or cfg.trainer.accelerator not in ("auto", "cuda", "gpu"):
        return nullcontext()
    with importing_torch():  # only when a job runs
        import torch

    num_gpus = torch.cuda.device_count()
    while num_gpus > 1:
        for index in range(num_gpus):
            with suppress(Timeout):
                gpu = FileLock(directory / f".gpu-{index}.lock").acquire(blocking=False)
                cfg.trainer.devices = [index]
                return gpu
        time.sleep(POLL_SECONDS)
    return nullcontext()


def needs_new_process(cfg: DictConfig, hydra_cfg: HydraConf) -> bool:
    """Return whether a job has several devices, or `hydra/launcher=process` was chosen."""
    is_chosen = hydra_cfg.runtime.choices["hydra/launcher"] == "process"
    trainer: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    return is_chosen or TrainerConfig.model_construct(**trainer).num_processes() > 1


def run_in_new_process(directory: Path, hydra_cfg: HydraConf) -> None:
    """Start or resume a job as a single run, and wait until it has ended.

    Signals are forwarded to the job. Its stderr is passed on, except for its error.

    Args:
        directory: the directory of the job, in which Hydra has saved its configuration.
        hydra_cfg: Hydra's part of that configuration.

    Raises:
        UserError: the job failed.
        Interrupted: by a signal, after the job has saved its state.
    """
    python = shlex.split(hydra_cfg.launcher.get("command") or shlex.quote(sys.executable))
    place = [f"hydra.sweep.dir={hydra_quote(hydra_cfg.sweep.dir)}", f"hydra.job.num={hydra_cfg.job.num}"]
    command = [*python, str(CONF.parent / "train.py"), f"resume={hydra_quote(directory)}", *place]
    env = {name: value for name, value in os.environ.items() if name not in SLURM_STEP}
    received: list[int] = []
    errors: list[str] = []
    line = "its process ended without a message"

    def forward(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        process.send_signal(signum)

    with (
        subprocess.Popen(command, cwd=hydra_cfg.runtime.cwd, env=env, stderr=subprocess.PIPE, text=True) as process,
        handle(*SIGNALS, handler=forward),
    ):
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(("error: ", "interrupted")):
                errors.append(line.removeprefix("error: "))
            else:
                sys.stderr.write(line)
        process.wait()
    if received:
        raise Interrupted(received[0], "".join(errors).partition("; resume with")[0])
    if process.returncode < 0:
        raise UserError(f"its process was ended by {signal.Signals(-process.returncode).name}")
    if process.returncode:
        raise UserError(*errors or [line])


@dataclass(frozen=True)
class JobResult:
    """A job that has ended.

    Args:
        directory: the job's run directory.
        name: that directory relative to the sweep directory: the job's number, unless `hydra.sweep.subdir` is set.
        overrides: the values of the job's overrides by key.
        metrics: the job's metrics; empty if it failed.
        error: why the job failed, in one line; empty if it did not fail.
    """

    directory: Path
    name: str
    overrides: Mapping[str, str]
    metrics: Mapping[str, Any]
    error: str = ""

    @property
    def objective(self) -> str:
        """The metric that ranks the job."""
        return str(self.metrics["objective"])

    @property
    def score(self) -> float:
        """The value of the objective, negated if lower is better; NaN counts as the worst."""
        value = objective_value(self.metrics)
        return -math.inf if math.isnan(value) else value if metric_direction(self.objective) == "max" else -value


def save_error(directory: Path, overrides: Sequence[str], error: Exception) -> str:
    """Write why a job failed to `error.json`, and return it as one line."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ERROR).write_text(json.dumps({"error": line, "overrides": list(overrides)}, indent=2) + "\n")
    return line


def read_error(directory: Path) -> str:
    """Return why a job failed, according to its `error.json`."""
    return str(read_json(directory / ERROR).get("error", "its process ended"))


def read_jobs(sweep_dir: Path) -> list[JobResult]:
    """Return the completed and failed jobs below the directory of a sweep, by their numbers."""
    jobs = []
    directories = filter(Path.is_dir, sweep_dir.glob("**"))
    for directory in sorted(directories, key=lambda path: (int(path.name) if path.name.isdecimal() else -1, path)):
        metrics = read_result(directory) or {}
        content = metrics or read_json(directory / ERROR)
        if isinstance(content.get("overrides"), list):
            overrides = {key: value for key, _, value in (text.partition("=") for text in content["overrides"])}
            error = "" if metrics else str(content.get("error"))
            jobs.append(JobResult(directory, str(directory.relative_to(sweep_dir)), overrides, metrics, error))
    return jobs
