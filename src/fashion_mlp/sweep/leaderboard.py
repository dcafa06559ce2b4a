"""The ranked table of a sweep, for the terminal and as CSV."""

import csv
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fashion_mlp.config.monitoring import OBJECTIVES, metric_direction
from fashion_mlp.config.records import JobRecord

# Columns of the terminal.
WIDTH = 100
# Ranks on the terminal; the file has all.
SHOWN = 20
SEED = "seed"
MEASURED = ("val/acc", "val/loss", "test/acc", "test/loss", "seconds", "epochs")


# Completed jobs that differ in nothing but their seed, the best first.
Group = Sequence[JobRecord]


def varying_keys(jobs: Sequence[JobRecord]) -> list[str]:
    """Return the keys whose overrides are not the same in all jobs."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def rank_jobs(jobs: Sequence[JobRecord]) -> list[Group]:
    """Group completed jobs by all but their seed, and rank the groups by their mean objective."""
    keys = [key for key in varying_keys(jobs) if key != SEED]
    groups: dict[tuple[str | None, ...], list[JobRecord]] = {}
    for job in jobs:
        if not job.error:
            groups.setdefault((job.objective, *(job.overrides.get(key) for key in keys)), []).append(job)
    best_first = [sorted(group, key=lambda job: job.score, reverse=True) for group in groups.values()]
    return sorted(best_first, key=_score, reverse=True)


def _score(group: Group) -> tuple[bool, float]:
    """Return what groups are ranked by; those without a validation split come last: a loss is no accuracy."""
    return group[0].objective == OBJECTIVES[0], statistics.fmean(job.score for job in group)


def table(jobs: Sequence[JobRecord]) -> str:
    """Return the table for the terminal: a row for each group, then one for each job that failed."""
    keys = [key for key in varying_keys(jobs) if key != SEED]
    groups = rank_jobs(jobs)
    failed = [job for job in jobs if job.error]
    objectives = list(dict.fromkeys(group[0].objective for group in groups))
    columns = _columns(groups, objectives)
    rows = [["rank", *_short(keys), *columns]]
    for rank, group in enumerate(groups[:SHOWN], start=1):
        rows.append([str(rank), *_cells(group[0], keys), *(cell(group) for cell in columns.values())])
    failures = [["-", *_cells(job, keys)] for job in failed]
    widths = [max(map(len, column)) for column in zip_longest(*rows, *failures, fillvalue="")]
    # Overrides, which may be words, to the left; numbers to the right.
    alignments = [">", *["<"] * len(keys), *[">"] * len(columns)]
    formats = [f"{alignment}{width}" for alignment, width in zip(alignments, widths, strict=True)]
    lines = [_title(len(jobs), objectives), *(_line(row, formats) for row in rows)]
    if len(groups) > SHOWN:
        lines.append(f"and {len(groups) - SHOWN} more")
    for row, job in zip(failures, failed, strict=True):
        lines.append(_cut(f"{_line(row, formats)}  job {job.name} failed: {job.error}", WIDTH))
    return "\n".join(lines)


def _line(row: Sequence[str], formats: Sequence[str]) -> str:
    return "  ".join(map(format, row, formats)).rstrip()


def _columns(groups: Sequence[Group], objectives: Sequence[str]) -> dict[str, Callable[[Group], str]]:
    """Return what is shown of each group after its overrides, by the columns' names."""
    if not groups:
        return {}
    objective = objectives[0] if len(objectives) == 1 else "objective"
    columns: dict[str, Callable[[Group], str]] = {objective: lambda group: _shown(group, group[0].objective)}
    if any("test/acc" in group[0].metrics for group in groups):
        columns["test/acc"] = lambda group: _shown(group, "test/acc")
    columns["seconds"] = lambda group: f"{_summary(group, 'seconds')[0]:.1f}"
    if any(len(group) > 1 for group in groups):
        return {**columns, "seeds": lambda group: str(len(group)), "best job": lambda group: group[0].name}
    return {**columns, "job": lambda group: group[0].name}


def _summary(group: Group, metric: str) -> tuple[float | None, float | None]:
    """Return mean and sample standard deviation of a metric over the seeds; None where there are too few."""
    values = [job.metrics[metric] for job in group if metric in job.metrics]
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None


def _shown(group: Group, metric: str) -> str:
    mean, deviation = _summary(group, metric)
    text = "-" if mean is None else f"{mean:.4f}"
    return text if deviation is None else f"{text} ± {deviation:.4f}"


def write_csv(path: Path, jobs: Sequence[JobRecord]) -> None:
    """Write every job with all that was measured, in the order of the table."""
    keys = varying_keys(jobs)
    columns = ["rank", "job", "status", "objective", "value", "mean", "standard_deviation", *MEASURED, *keys]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, "folder", "error"], extrasaction="ignore")
        writer.writeheader()
        for rank, group in enumerate(rank_jobs(jobs), start=1):
            name = group[0].objective
            mean, deviation = _summary(group, name)
            summary = {"rank": rank, "objective": name, "mean": mean, "standard_deviation": deviation}
            writer.writerows({**job.metrics, "value": job.metrics[name], **summary, **_about(job)} for job in group)
        writer.writerows(_about(job) for job in jobs if job.error)


def _about(job: JobRecord) -> dict[str, Any]:
    status = "failed" if job.error else "done"
    return {"job": job.name, "status": status, "folder": job.folder, "error": job.error, **job.overrides}


def _title(count: int, objectives: Sequence[str]) -> str:
    better = {"max": "higher is better", "min": "lower is better", None: ""}
    order = [f"by {name} ({better[metric_direction(name)]})" for name in OBJECTIVES if name in objectives]
    where = " where there is no validation split" if OBJECTIVES[-1] in objectives else ""
    return f"{count} jobs, ranked {', then '.join(order)}{where}" if order else f"{count} jobs"


def _cells(job: JobRecord, keys: Sequence[str]) -> list[str]:
    return [_cut(_brief(job.overrides.get(key, "")), 24) for key in keys]


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


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
