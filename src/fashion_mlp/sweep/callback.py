"""What Hydra does for us before the first job of a multirun and after the last."""

import inspect
import logging
import signal
import sys
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar

from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.records import read_jobs
from fashion_mlp.config.resume import check_same_sweep
from fashion_mlp.runtime.errors import UserError, exit_on_user_error
from fashion_mlp.runtime.ranks import is_rank_zero
from fashion_mlp.runtime.run_directory import lock, resolve
from fashion_mlp.runtime.signals import EXIT_HOOKS
from fashion_mlp.sweep.job import is_search
from fashion_mlp.sweep.leaderboard import rank_jobs, table, write_csv

log = logging.getLogger(__name__)

FILE = "leaderboard.csv"


class Leaderboard(Callback):
    """Ranks the jobs of a sweep when all have ended, from what they left in their folders.

    So it does not matter which process, machine or attempt ran a job. If one failed, the exit status is 1. A
    search, such as Optuna's, has its own words for its end and its own way to go on.
    """

    # Of the sweep's folder. It is no part of an instance, which Hydra sends to the processes of jobs.
    lock: ClassVar[ExitStack] = ExitStack()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if not is_rank_zero():
            return
        folder = Path(config.hydra.sweep.dir)
        self._explain_failures(config)
        if is_search(config.hydra):
            return
        with exit_on_user_error():
            jobs = read_jobs(folder, _pattern(config))
            check_same_sweep(folder, config, jobs)
            self.lock.enter_context(lock(resolve(folder)))
        done = sum(not job.error for job in jobs)
        kept = f": {done} of its jobs {'is' if done == 1 else 'are'} done already" if done else ""
        self.folder = folder
        EXIT_HOOKS.append(self.print_resume_hint)
        log.info(f"sweep     {folder}{kept}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.lock.close()
        if is_search(config.hydra) or not is_rank_zero():
            return
        EXIT_HOOKS.remove(self.print_resume_hint)
        folder = Path(config.hydra.sweep.dir)
        jobs = read_jobs(folder, _pattern(config))
        if not jobs:
            return
        write_csv(folder / FILE, jobs)
        log.info(f"\n{table(jobs)}")
        groups = rank_jobs(jobs)
        if groups and (checkpoint := groups[0][0].metrics.get("checkpoint")):
            log.info(f"best        {groups[0][0].folder / checkpoint}")
        log.info(f"all         {folder / FILE}")
        failed = sum(bool(job.error) for job in jobs)
        if failed:
            # Hydra turns an error raised here into a warning.
            sys.exit(f"error: {failed} of {len(jobs)} jobs failed; to run them again: {_command(folder)}")

    def _explain_failures(self, config: DictConfig) -> None:
        """Let a launcher tell in one line why it has failed, such as by a worker that was killed; Hydra has no hook."""
        name, folder = config.hydra.runtime.choices["hydra/launcher"], config.hydra.sweep.dir
        if name == "basic":  # runs the jobs in this process
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a launcher ends its processes on KeyboardInterrupt
        again = f"the same command with hydra.sweep.dir={folder}" if is_search(config.hydra) else _command(folder)
        launcher: Any = get_class(config.hydra.launcher._target_)
        launch = inspect.unwrap(launcher.launch)

        @wraps(launch)
        def explained(*args: Any, **kwargs: Any) -> Any:
            try:
                return launch(*args, **kwargs)
            except CompactHydraException:
                raise
            except Exception as error:
                if self.print_resume_hint in EXIT_HOOKS:
                    EXIT_HOOKS.remove(self.print_resume_hint)
                reason = shorten(str(error) or type(error).__name__, width=240, placeholder=" ...")
                with exit_on_user_error():
                    raise UserError(f"hydra/launcher={name}: {reason}; to run what is missing: {again}") from error

        launcher.launch = explained

    def print_resume_hint(self) -> None:
        """Print the command that resumes the sweep."""
        hint = f"the sweep was interrupted; resume it with: {_command(self.folder)}"
        print(hint, file=sys.stderr)  # noqa: T201, where a job's own message is


def _pattern(config: DictConfig) -> str:
    """Return what the folders of jobs look like: one level down, unless the user gave them names of their own."""
    subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload,index]
    return "*" if subdir == "${hydra.job.num}" else "**"


def _command(folder: Path) -> str:
    return f"python train.py resume_sweep={folder}"
