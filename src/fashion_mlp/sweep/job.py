"""One job of a sweep: run, or recalled if it was completed before the sweep was interrupted."""

import logging
import math
import sys
from collections.abc import Callable
from multiprocessing import parent_process
from pathlib import Path

from hydra.conf import HydraConf
from omegaconf import DictConfig

from fashion_mlp.config.monitoring import get_objective
from fashion_mlp.config.records import ERROR, read_result, record_error, typed_overrides
from fashion_mlp.runtime import run_directory
from fashion_mlp.runtime.console import set_log_prefix
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.sweep.gpus import reserve_gpu

log = logging.getLogger(__name__)


def run_job(cfg: DictConfig, hydra_cfg: HydraConf, run: Callable[[DictConfig], float]) -> float:
    """Run one job of a sweep, unless its folder holds its result.

    Args:
        cfg: the job's configuration.
        hydra_cfg: Hydra's part of it.
        run: what runs it.

    Returns:
        Its objective, or NaN if it failed: an error raised here would end the sweep before its table.
    """
    folder = run_directory.resolve(cfg.run_dir)
    overrides = typed_overrides(hydra_cfg)
    if parent_process() is not None:  # a worker shares the terminal with others
        set_log_prefix(f"#{folder.name}  ")
    try:
        result = read_result(folder)
        if result is None:
            with run_directory.lock(folder), reserve_gpu(cfg, Path(hydra_cfg.sweep.dir)):
                run_directory.start_over(folder)
                (folder / ERROR).unlink(missing_ok=True)
                return run(cfg)
    except Exception as error:
        line = record_error(folder, overrides, error)
        log.error(f"error: {line}", exc_info=None if isinstance(error, UserError) else error)
        return math.nan
    if result.get("overrides") != overrides:
        # Ends the whole sweep: its folder is another's.
        sys.exit(f"error: {folder}: holds the result of another job; give this sweep another hydra.sweep.dir")
    name = get_objective(result)
    log.info(f"done already: {name} {result[name]:.4f}")
    return float(result[name])


def is_search(hydra_cfg: HydraConf) -> bool:
    """Return whether the sweeper is not Hydra's own, which knows all jobs from the start."""
    return bool(hydra_cfg.runtime.choices["hydra/sweeper"] != "basic")
