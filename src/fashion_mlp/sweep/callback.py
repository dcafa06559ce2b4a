"""What Hydra does for us before the first job of a multirun and after the last."""

import atexit
import logging
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from typing_extensions import override

from fashion_mlp.errors import told_in_one_line
from fashion_mlp.processes import is_first
from fashion_mlp.sweep.job import is_search
from fashion_mlp.sweep.leaderboard import SEED, differing, ranked, table, write_csv
from fashion_mlp.sweep.records import jobs_in
from fashion_mlp.sweep.resume import check_same_sweep

log = logging.getLogger(__name__)

FILE = "leaderboard.csv"


class Leaderboard(Callback):
    """Ranks the jobs of a sweep when all have ended, from what they left in their folders.

    So it does not matter which process, machine or attempt ran a job. If one failed, the exit status is 1. A
    search, such as Optuna's, has its own words for its end and its own way to go on.
    """

    @override
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if is_search(config.hydra) or not is_first():
            return
        folder = Path(config.hydra.sweep.dir)
        with told_in_one_line():
            check_same_sweep(folder, config)
        done = sum(not job.error for job in jobs_in(folder, _pattern(config)))
        kept = f": {done} of its jobs {'is' if done == 1 else 'are'} done already" if done else ""
        log.info(f"sweep     {folder}{kept}")
        self.folder = folder
        atexit.register(self.say_how_to_go_on)

    @override
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if is_search(config.hydra) or not is_first():
            return
        atexit.unregister(self.say_how_to_go_on)
        folder = Path(config.hydra.sweep.dir)
        jobs = jobs_in(folder, _pattern(config))
        if not jobs:
            return
        write_csv(folder / FILE, jobs)
        log.info(f"\n{table(jobs)}")
        entries = ranked(jobs, [key for key in differing(jobs) if key != SEED])
        if entries and (checkpoint := entries[0].best.metrics.get("checkpoint")):
            log.info(f"best        {entries[0].best.folder / checkpoint}")
        log.info(f"all         {folder / FILE}")
        failed = sum(bool(job.error) for job in jobs)
        if failed:
            # Hydra turns an error raised here into a warning.
            sys.exit(f"error: {failed} of {len(jobs)} jobs failed; to run them again: {_command(folder)}")

    def say_how_to_go_on(self) -> None:
        """Tell the user of an interrupted sweep how to go on with it."""
        log.info(f"The sweep was interrupted. This runs what is missing: {_command(self.folder)}")


def _pattern(config: DictConfig) -> str:
    """Return what the folders of jobs look like: one level down, unless the user gave them names of their own."""
    subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload,index]
    return "*" if subdir == "${hydra.job.num}" else "**"


def _command(folder: Path) -> str:
    return f"python train.py resume_sweep={folder}"
