"""The leaderboard of a sweep: its jobs, ranked on the terminal and in `leaderboard.csv`."""

import csv
import logging
import re
import signal
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.messages import format_count
from fashion_mlp.config.records import SWEEP_CONFIG, load_hydra_config, sweep_definition
from fashion_mlp.runtime.errors import UserError, exit_on_user_error
from fashion_mlp.runtime.run_directory import lock, resolve
from fashion_mlp.runtime.signals import EXIT_HOOKS
from fashion_mlp.sweep.job import JobResult, merge_options_once, read_jobs

log = logging.getLogger(__name__)

FILE = "leaderboard.csv"
# Columns of the terminal, and of a value in the table.
WIDTH = 100
VALUE_WIDTH = 24
# Ranks on the terminal; the file has all.
MAX_ROWS = 20
# Keys that repeat a configuration: the table shows the mean and standard deviation over their values.
REPEATS = ("seed", "data.fold")
# Metrics in the file: not those of single classes, such as `test/acc/Bag`.
EVALUATED = re.compile("(val|test)/[^/]+")

# Completed jobs that differ only in `REPEATS`, the best first.
JobGroup = Sequence[JobResult]


class Leaderboard(Callback):
    """Ranks the jobs of a sweep by the files in their directories, whichever process or attempt ran them.

    If a job failed, the exit status is 1. A search, such as Optuna's, prints its own result.
    """

    # The lock of the sweep's directory. A class attribute, since Hydra pickles the instance for the processes of jobs.
    lock: ClassVar[ExitStack] = ExitStack()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.directory = Path(config.hydra.sweep.dir)
        explain_launcher_errors(config)
        merge_options_once(GlobalHydra.instance().config_loader())  # type: ignore[arg-type]  # its only implementation
        # It composes each job a second time, to check it; `config.check_command_line` has done this before.
        Sweeper.validate_batch_is_legal = lambda self, batch: None  # type: ignore[method-assign]
        with exit_on_user_error():
            jobs = read_jobs(self.directory)
            check_same_sweep(self.directory, config, jobs)
            if not _is_search(config):
                self.lock.enter_context(lock(resolve(self.directory)))
        self.is_running = True
        EXIT_HOOKS.callback(self.print_resume_hint)
        if _is_search(config):  # it checks its space before it writes anything
            return
        OmegaConf.save(config, self.directory / SWEEP_CONFIG)
        done = sum(not job.error for job in jobs)
        log.info(f"sweep     {self.directory}" + (f" ({format_count(done, 'job')} done already)" if done else ""))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.lock.close()
        self.is_running = False
        if _is_search(config):
            return
        jobs = read_jobs(self.directory)
        write_csv(self.directory / FILE, jobs)
        log.info(f"\n{format_table(jobs)}")
        groups = rank_jobs(jobs)
        if groups and (checkpoint := groups[0][0].metrics.get("checkpoint")):
            log.info(f"best        {groups[0][0].directory / checkpoint}")
        log.info(f"all         {self.directory / FILE}")
        if failed := sum(bool(job.error) for job in jobs):
            # Not an exception, which Hydra would turn into a warning.
            count = format_count(len(jobs), "job")
            sys.exit(f"error: {failed} of {count} failed. To run them again: {self._resume_command()}")

    def print_resume_hint(self) -> None:
        """Print the command that resumes the sweep, if it has started and has not ended."""
        if self.is_running and (self.directory / SWEEP_CONFIG).exists():
            hint = f"the sweep was interrupted; resume with: {self._resume_command()}"
            print(hint, file=sys.stderr)  # noqa: T201, where a job prints its own message

    def _resume_command(self) -> str:
        return f"python train.py resume_sweep={self.directory}"


def explain_launcher_errors(config: DictConfig) -> None:
    """Make Hydra's launcher, which has no hook, exit with one line if it fails, such as by the death of a worker."""
    name = config.hydra.runtime.choices["hydra/launcher"]
    if name in ("basic", "process"):  # runs in this process, in which the jobs handle signals
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a launcher ends its processes on KeyboardInterrupt
    launcher: Any = get_class(config.hydra.launcher._target_)
    original = launcher.launch

    def launch(*args: Any, **kwargs: Any) -> Any:
        with exit_on_user_error():
            try:
                return original(*args, **kwargs)
            except Exception as error:
                reason = shorten(str(error) or type(error).__name__, width=240, placeholder=" ...")
                raise UserError(f"hydra/launcher={name}: {reason}") from error

    launcher.launch = launch


def _is_search(config: DictConfig) -> bool:
    """Return whether the sweeper chooses its jobs by the results of others, unlike Hydra's own."""
    return bool(config.hydra.runtime.choices["hydra/sweeper"] != "basic")


def check_same_sweep(directory: Path, config: DictConfig, jobs: Sequence[JobResult]) -> None:
    """Check that the directory of a sweep is free, or that it holds the same sweep, which was interrupted.

    Args:
        directory: the directory of the sweep.
        config: the configuration of the sweep, composed by Hydra.
        jobs: the jobs in the directory that have ended.

    Raises:
        UserError: it holds another sweep, or directories that a job of this one would write to.
    """
    before, now = load_hydra_config(directory / SWEEP_CONFIG), OmegaConf.to_container(config.hydra, resolve=False)
    if before and sweep_definition(before) != sweep_definition(now):
        raise UserError(
            f"hydra.sweep.dir={directory}: holds another sweep ({' '.join(before['overrides']['task'])}). Choose "
            f"another directory, or resume that sweep with resume_sweep={directory}"
        )
    foreign = [*(job.directory for job in jobs), *(path for path in directory.glob("*") if path.name.isdecimal())]
    if foreign and not before:
        raise UserError(
            f"hydra.sweep.dir={directory}: {foreign[0]} exists and is not of this sweep. Choose another hydra.sweep.dir"
        )


def rank_jobs(jobs: Sequence[JobResult]) -> list[JobGroup]:
    """Group completed jobs by all overrides except `REPEATS`, and sort the groups by their mean score, best first.

    Jobs without a validation split come last, since their objective is a loss.
    """
    groups: dict[tuple[object, ...], list[JobResult]] = {}
    for job in jobs:
        if not job.error:
            others = {key: value for key, value in job.overrides.items() if key not in REPEATS}
            groups.setdefault((job.objective, *sorted(others.items())), []).append(job)
    best_first = [sorted(group, key=lambda job: job.score, reverse=True) for group in groups.values()]
    return sorted(best_first, key=_mean_score, reverse=True)


def _mean_score(group: JobGroup) -> tuple[bool, float]:
    return group[0].objective.startswith("val/"), statistics.fmean(job.score for job in group)


def _mean_std(group: JobGroup, metric: str) -> tuple[float | None, float | None]:
    """Return the mean and sample standard deviation of a metric over a group; None if there are too few."""
    values = [job.metrics[metric] for job in group if metric in job.metrics]
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None


def varying_keys(jobs: Sequence[JobResult]) -> list[str]:
    """Return the keys whose overrides differ between jobs."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def format_table(jobs: Sequence[JobResult]) -> str:
    """Return the leaderboard for the terminal: a row for each group, then a line for each failed job."""
    keys = varying_keys(jobs)
    columns = [key for key in keys if key not in REPEATS]
    groups = rank_jobs(jobs)
    objectives = list(dict.fromkeys(group[0].objective for group in groups))
    test_metric = f"test/{objectives[0].rpartition('/')[2]}" if objectives else "test/acc"
    rows = [["rank", *columns, " or ".join(objectives), test_metric, "seconds", "runs", "best job"]]
    for rank, group in enumerate(groups[:MAX_ROWS], start=1):
        best = group[0]
        values = [_truncate(best.overrides.get(key, ""), VALUE_WIDTH) for key in columns]
        scores = [_format_metric(group, best.objective), _format_metric(group, test_metric)]
        seconds = statistics.fmean(job.metrics["seconds"] for job in group)
        rows.append([str(rank), *values, *scores, f"{seconds:.1f}", str(len(group)), best.name])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{format_count(len(jobs), 'job')}{', ranked by ' if groups else ''}{', then by '.join(objectives)}"]
    lines += ["  ".join(map(str.rjust, row, widths)) for row in rows]
    if len(groups) > MAX_ROWS:
        lines.append(f"and {len(groups) - MAX_ROWS} more in {FILE}")
    for job in jobs:
        if job.error:
            overrides = [f"{key}={_truncate(job.overrides[key], VALUE_WIDTH)}" for key in keys if key in job.overrides]
            lines.append(_truncate(f"{' '.join(['job', job.name, *overrides])} failed: {job.error}", WIDTH))
    return "\n".join(lines)


def _format_metric(group: JobGroup, metric: str) -> str:
    mean, std = _mean_std(group, metric)
    text = "-" if mean is None else f"{mean:.4f}"
    return text if std is None else f"{text} ± {std:.4f}"


def _truncate(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def write_csv(path: Path, jobs: Sequence[JobResult]) -> None:
    """Write a row for each job with its overrides and metrics, in the order of the leaderboard."""
    columns = ["rank", "job", "status", "objective", "value", "mean", "standard_deviation", "name"]
    columns += dict.fromkeys(name for job in jobs for name in job.metrics if EVALUATED.fullmatch(name))
    columns += ["seconds", "epochs", *varying_keys(jobs), "directory", "error"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for rank, group in enumerate(rank_jobs(jobs), start=1):
            name = group[0].objective
            mean, std = _mean_std(group, name)
            summary = {"rank": rank, "objective": name, "mean": mean, "standard_deviation": std}
            writer.writerows({**_row(job), **summary, "value": job.metrics[name]} for job in group)
        writer.writerows(_row(job) for job in jobs if job.error)


def _row(job: JobResult) -> dict[str, Any]:
    status = {"status": "failed" if job.error else "done", "error": job.error}
    about = {"job": job.name, "name": job.metrics.get("name"), "directory": job.directory}
    return {**job.metrics, **job.overrides, **status, **about}
