"""The jobs of a sweep that have ended: their metrics, or the error of a failed job in its `error.json`.

Both files contain the overrides, so that any process can tell which job a directory belongs to.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.monitoring import metric_direction, objective_value
from fashion_mlp.config.records import SWEEP_CONFIG, load_hydra_config, read_json, read_result, sweep_definition
from fashion_mlp.runtime.errors import UserError

ERROR = "error.json"


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
