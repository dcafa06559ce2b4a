"""The ranked table of a sweep, for the terminal and as CSV."""

import csv
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fashion_mlp.monitoring import OBJECTIVES, metric_direction
from fashion_mlp.sweep.records import JobRecord

WIDTH = 100
"""Columns of the terminal."""
SHOWN = 20
"""Ranks on the terminal; the file has all."""
SEED = "seed"
MEASURED = ("val/acc", "val/loss", "test/acc", "test/loss", "seconds", "epochs")


@dataclass(frozen=True)
class Entry:
    """Jobs that differ in nothing but their seed.

    Args:
        jobs: at least one, the best first.
    """

    jobs: Sequence[JobRecord]

    @property
    def best(self) -> JobRecord:
        """The job with the best objective."""
        return self.jobs[0]

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over the seeds; None where it was not measured."""
        values = self._values(metric)
        return statistics.fmean(values) if values else None

    def deviation(self, metric: str) -> float | None:
        """Return the sample standard deviation of a metric over the seeds; None of fewer than two."""
        values = self._values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def shown(self, metric: str, digits: int = 4) -> str:
        """Return a mean, with its standard deviation where there is one."""
        mean, deviation = self.mean(metric), self.deviation(metric)
        text = "-" if mean is None else f"{mean:.{digits}f}"
        return text if deviation is None else f"{text} ± {deviation:.{digits}f}"

    def _values(self, metric: str) -> list[float]:
        return [job.metrics[metric] for job in self.jobs if metric in job.metrics]


def differing(jobs: Sequence[JobRecord]) -> list[str]:
    """Return the keys whose overrides are not the same in all jobs."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def ranked(jobs: Sequence[JobRecord], keys: Sequence[str]) -> list[Entry]:
    """Group completed jobs by all but their seed, and rank the groups by their mean objective.

    Jobs without a validation split come last: a loss is no accuracy.
    """
    groups: dict[tuple[str | None, ...], list[JobRecord]] = {}
    for job in jobs:
        if not job.error:
            groups.setdefault((job.objective, *_values(job, keys)), []).append(job)
    entries = [Entry(sorted(group, key=_score, reverse=True)) for group in groups.values()]
    return sorted(entries, key=_mean_score, reverse=True)


def table(jobs: Sequence[JobRecord]) -> str:
    """Return the table for the terminal: a row for each entry, then one for each job that failed."""
    keys = [key for key in differing(jobs) if key != SEED]
    entries = ranked(jobs, keys)
    failed = [job for job in jobs if job.error]
    objectives = list(dict.fromkeys(entry.best.objective for entry in entries))
    columns = _columns(entries, objectives)
    rows = [["rank", *_short(keys), *columns]]
    rows += [
        [str(rank), *_cells(entry.best, keys), *(cell(entry) for cell in columns.values())]
        for rank, entry in enumerate(entries[:SHOWN], start=1)
    ]
    failures = [["-", *_cells(job, keys)] for job in failed]
    widths = [max(map(len, column)) for column in zip_longest(*rows, *failures, fillvalue="")]
    lines = [_line(row, widths, words=len(keys)) for row in rows]
    if len(entries) > SHOWN:
        lines.append(f"and {len(entries) - SHOWN} more")
    for row, job in zip(failures, failed, strict=True):
        lines.append(_cut(f"{_line(row, widths, words=len(keys))}  job {job.name} failed: {job.error}", WIDTH))
    return "\n".join([_title(len(jobs), objectives), *lines])


def _columns(entries: Sequence[Entry], objectives: Sequence[str]) -> dict[str, Callable[[Entry], str]]:
    """Return what is shown of each entry after its overrides, by the columns' names."""
    if not entries:
        return {}
    tested = any(entry.mean("test/acc") is not None for entry in entries)
    several = any(len(entry.jobs) > 1 for entry in entries)
    return {
        objectives[0] if len(objectives) == 1 else "objective": lambda entry: entry.shown(entry.best.objective),
        **({"test/acc": lambda entry: entry.shown("test/acc")} if tested else {}),
        "seconds": lambda entry: f"{entry.mean('seconds'):.1f}",
        **({"seeds": lambda entry: str(len(entry.jobs))} if several else {}),
        "best job" if several else "job": lambda entry: entry.best.name,
    }


def write_csv(path: Path, jobs: Sequence[JobRecord]) -> None:
    """Write every job with all that was measured, in the order of the table."""
    keys = differing(jobs)
    columns = ["rank", "job", "status", "objective", "value", "mean", "standard_deviation", *MEASURED, *keys]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, "folder", "error"])
        writer.writeheader()
        for rank, entry in enumerate(ranked(jobs, [key for key in keys if key != SEED]), start=1):
            name = entry.best.objective
            summary = {"rank": rank, "mean": entry.mean(name), "standard_deviation": entry.deviation(name)}
            for job in entry.jobs:
                measured = {metric: job.metrics.get(metric) for metric in MEASURED}
                writer.writerow(
                    {"objective": name, "value": job.metrics[name], **measured, **summary} | _about(job, keys)
                )
        writer.writerows(_about(job, keys) for job in jobs if job.error)


def _about(job: JobRecord, keys: Sequence[str]) -> dict[str, Any]:
    status = "failed" if job.error else "done"
    about = {"job": job.name, "status": status, "folder": job.folder, "error": job.error}
    return about | {key: job.overrides.get(key) for key in keys}


def _title(count: int, objectives: Sequence[str]) -> str:
    better = {"max": "higher is better", "min": "lower is better", None: ""}
    order = [f"by {name} ({better[metric_direction(name)]})" for name in OBJECTIVES if name in objectives]
    where = " where there is no validation split" if OBJECTIVES[-1] in objectives else ""
    return f"{count} jobs, ranked {', then '.join(order)}{where}" if order else f"{count} jobs"


def _values(job: JobRecord, keys: Sequence[str]) -> list[str | None]:
    return [job.overrides.get(key) for key in keys]


def _cells(job: JobRecord, keys: Sequence[str]) -> list[str]:
    return [_cut(_brief(value or ""), 24) for value in _values(job, keys)]


def _brief(value: str) -> str:
    """Shorten a number of many digits, as a search comes up with."""
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def _short(keys: Sequence[str]) -> Iterator[str]:
    """Yield the last part of each key, or the whole where that is not unique."""
    names = [key.rpartition(".")[2] for key in keys]
    for key, name in zip(keys, names, strict=True):
        yield name if names.count(name) == 1 else key


def _line(cells: Sequence[str], widths: Sequence[int], words: int) -> str:
    """Set the columns that hold words to the left, which come second, and numbers to the right."""
    padded = [
        cell.ljust(width) if 1 <= column <= words else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return "  ".join(padded).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _score(job: JobRecord) -> float:
    return job.score


def _mean_score(entry: Entry) -> tuple[bool, float]:
    return entry.best.objective == OBJECTIVES[0], statistics.fmean(job.score for job in entry.jobs)
