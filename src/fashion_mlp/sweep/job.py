"""One job of a sweep. It runs unless its directory holds its result, and resumes if it was interrupted.

Parallel jobs have a GPU each, if there are several. A job with several devices has its own processes.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.conf import HydraConf
from omegaconf import DictConfig

from fashion_mlp.config.monitoring import get_objective
from fashion_mlp.config.resume import task_overrides
from fashion_mlp.runtime.console import ConsoleHandler
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.failures import importing_torch
from fashion_mlp.runtime.run_directory import lock, resolve
from fashion_mlp.runtime.run_result import METRICS_FILE, read_json, read_result
from fashion_mlp.sweep.process import needs_new_process, run_in_new_process
from fashion_mlp.sweep.results import ERROR, save_error

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


def run_job(cfg: DictConfig, hydra_cfg: HydraConf, run: Callable[[DictConfig], float]) -> float:
    """Run one job of a sweep, unless its directory holds its result.

    Args:
        cfg: the configuration of the job.
        hydra_cfg: Hydra's part of it.
        run: trains with the configuration, or resumes the training, and returns the objective.

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
                return _objective(read_json(directory / METRICS_FILE))
            with lock(directory), reserve_gpu(cfg, Path(hydra_cfg.sweep.dir)):
                return run(cfg)
    except Exception as error:
        line = save_error(directory, overrides, error)
        log.error(f"error: {line}", exc_info=None if isinstance(error, UserError) else error)
        return math.nan
    if result.get("overrides") != overrides:
        sys.exit(f"error: {directory}: holds the result of another job. Choose another hydra.sweep.dir")
    log.info(f"done already: {get_objective(result)} {_objective(result):.4f}")
    return _objective(result)


def _objective(metrics: Mapping[str, Any]) -> float:
    return float(metrics[get_objective(metrics)])


def reserve_gpu(cfg: DictConfig, directory: Path) -> AbstractContextManager[object]:
    """Reserve one of several GPUs for a job that runs in a worker process and is to use one; wait until one is free.

    Args:
        cfg: the configuration of the job, whose `trainer.devices` becomes the GPU.
        directory: of the sweep, for the locks with which its workers share the GPUs.

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
