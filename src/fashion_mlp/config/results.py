"""Read the results of runs and jobs: `metrics.json`, and `error.json` of a failed job, which is also written here.

Both contain the overrides, so that any process can tell which job a directory belongs to.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import OmegaConf

from fashion_mlp.config.monitoring import get_objective, metric_direction
from fashion_mlp.runtime.errors import UserError

METRICS_FILE = "metrics.json"
ERROR = "error.json"


@dataclass(frozen=True)
class JobResult:
    """A job that has ended.

    Args:
        directory: its run directory.
        name: that directory relative to the sweep directory: the job's number, unless `hydra.sweep.subdir` is set.
        overrides: the values of its overrides by key.
        metrics: its metrics; empty if it failed.
        error: why it failed, in one line; empty if it did not fail.
    """

    directory: Path
    name: str
    overrides: Mapping[str, str]
    metrics: Mapping[str, Any]
    error: str = ""

    @property
    def objective(self) -> str:
        """The metric that ranks the job."""
        return get_objective(self.metrics)

    @property
    def score(self) -> float:
        """The value of the objective, negated if lower is better; NaN counts as the worst."""
        value = float(self.metrics[self.objective])
        return -math.inf if math.isnan(value) else value if metric_direction(self.objective) == "max" else -value


def task_overrides(hydra_cfg: HydraConf) -> list[str]:
    """Return the overrides of a job as they were typed, without resolving interpolations."""
    overrides: Any = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
    return list(overrides)


def read_result(directory: Path) -> dict[str, Any] | None:
    """Return the metrics of a complete run; None if `metrics.json` is missing, damaged or of an incomplete run."""
    metrics = _read(directory / METRICS_FILE) or {}
    is_complete = metrics.get("complete") is True and get_objective(metrics) in metrics
    return metrics if is_complete else None


def save_error(directory: Path, overrides: Sequence[str], error: Exception) -> str:
    """Write why a job failed to `error.json`, and return it as one line."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ERROR).write_text(json.dumps({"error": line, "overrides": list(overrides)}, indent=2) + "\n")
    return line


def read_error(directory: Path) -> str:
    """Return why a job failed, according to its `error.json`."""
    return str((_read(directory / ERROR) or {}).get("error", "its process ended"))


def read_jobs(sweep_dir: Path, pattern: str = "*") -> list[JobResult]:
    """Return the completed and failed jobs of a sweep, by their numbers.

    Args:
        sweep_dir: the directory of the sweep.
        pattern: a glob pattern that matches the directories of its jobs.
    """
    jobs = []
    directories = filter(Path.is_dir, sweep_dir.glob(pattern))
    for directory in sorted(directories, key=lambda path: (int(path.name) if path.name.isdecimal() else -1, path)):
        metrics, failure = read_result(directory), _read(directory / ERROR)
        content = metrics or failure
        if content is not None and isinstance(content.get("overrides"), list):
            overrides = {key: value for key, _, value in (text.partition("=") for text in content["overrides"])}
            error = "" if metrics else str(content.get("error"))
            jobs.append(JobResult(directory, str(directory.relative_to(sweep_dir)), overrides, metrics or {}, error))
    return jobs


def _read(path: Path) -> dict[str, Any] | None:
    try:
        items = json.loads(path.read_text()).items()
    except (OSError, ValueError, RecursionError, AttributeError):  # missing, truncated or foreign
        return None
    # Metrics, which have a slash in their names, are null where they are NaN or infinite.
    return {key: math.nan if value is None and "/" in key else value for key, value in items}
