"""Ranks, means over seeds, and the content of the table and the file."""

import csv
from pathlib import Path
from typing import Any

import pytest

from fashion_mlp.sweep.job import JobResult
from fashion_mlp.sweep.leaderboard import WIDTH, format_table, write_csv


def job(number: int, overrides: str, score: float = 0.5, *, error: str = "", **metrics: Any) -> JobResult:
    named: dict[str, Any] = {
        "objective": "val/acc",
        "val/acc": score,
        "val/loss": 1 - score,
        "test/acc": 1 - score,  # would turn the order around
        "test/loss": score,
        "seconds": 2.0,
        "epochs": 5,
        **metrics,
    }
    typed = dict(text.split("=") for text in overrides.split())
    return JobResult(Path(str(number)), str(number), typed, {} if error else named, error)


def without_validation(number: int, overrides: str, loss: float) -> JobResult:
    metrics = {
        "objective": "train/loss",
        "train/loss": loss,
        "test/acc": 0.5,
        "test/loss": 1.0,
        "seconds": 2.0,
        "epochs": 5,
    }
    return JobResult(Path(str(number)), str(number), dict([overrides.split("=")]), metrics)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_jobs_are_ranked_by_validation_and_not_by_test_accuracy() -> None:
    jobs = [job(0, "data.batch_size=64 optimizer.lr=0.1", 0.5), job(1, "data.batch_size=64 optimizer.lr=0.2", 0.75)]
    assert format_table(jobs).splitlines() == [
        "2 jobs, ranked by val/acc",
        "rank  optimizer.lr  val/acc  test/acc  seconds  runs  best job",
        "   1           0.2   0.7500    0.2500      2.0     1         1",
        "   2           0.1   0.5000    0.5000      2.0     1         0",
    ]


def test_jobs_that_differ_in_their_seed_are_one_row() -> None:
    seeds = [job(seed, f"optimizer=adam seed={seed}", 0.7 + 0.1 * seed) for seed in range(3)]
    other = job(3, "optimizer=sgd seed=0", 0.79)
    assert format_table([other, *seeds]).splitlines()[1:] == [
        "rank  optimizer          val/acc         test/acc  seconds  runs  best job",
        "   1       adam  0.8000 ± 0.1000  0.2000 ± 0.1000      2.0     3         2",
        "   2        sgd           0.7900           0.2100      2.0     1         3",
    ]


@pytest.mark.parametrize(("objective", "best"), [("val/f1_macro", "1"), ("val/calibration_error", "0")])
def test_jobs_are_ranked_by_their_objective(tmp_path: Path, objective: str, best: str) -> None:
    test = objective.replace("val", "test")
    scores: list[dict[str, Any]] = [{"objective": objective, objective: score, test: score} for score in (0.25, 0.75)]
    jobs = [job(number, f"optimizer.lr={number}", **metrics) for number, metrics in enumerate(scores)]
    title, header, first, _ = format_table(jobs).splitlines()
    assert title == f"2 jobs, ranked by {objective}"
    assert header.split()[2:4] == [objective, test]
    assert first.split()[-1] == best
    write_csv(tmp_path / "leaderboard.csv", jobs)
    row = rows_of(tmp_path / "leaderboard.csv")[0]
    assert (row["job"], row["objective"], row["value"]) == (best, objective, row[test])


def test_folds_are_one_row() -> None:
    folds = [job(fold, f"optimizer=adam data.folds=3 data.fold={fold}", 0.7 + 0.1 * fold) for fold in range(3)]
    assert format_table(folds).splitlines()[1:] == [
        "rank          val/acc         test/acc  seconds  runs  best job",
        "   1  0.8000 ± 0.1000  0.2000 ± 0.1000      2.0     3         2",
    ]


def test_a_failed_job_is_a_line_within_the_width() -> None:
    failed = job(1, "optimizer.lr=1e30", error="the loss became nan: " + "lower it " * 30)
    line = format_table([job(0, "optimizer.lr=0.1"), failed]).splitlines()[-1]
    assert line.startswith("job 1 optimizer.lr=1e30 failed: the loss became nan: lower it")
    assert len(line) == WIDTH
    assert line.endswith("...")


def test_all_jobs_may_have_failed(tmp_path: Path) -> None:
    failed = [job(number, f"seed={number}", error="no disk") for number in range(2)]
    assert format_table(failed).splitlines()[2:] == ["job 0 seed=0 failed: no disk", "job 1 seed=1 failed: no disk"]
    write_csv(tmp_path / "x.csv", failed)
    assert [row["error"] for row in rows_of(tmp_path / "x.csv")] == ["no disk", "no disk"]


def test_without_validation_jobs_are_ranked_by_training_loss() -> None:
    jobs = [without_validation(0, "optimizer.lr=0.1", 0.9), without_validation(1, "optimizer.lr=0.2", 0.3)]
    title, header, *rows = format_table(jobs).splitlines()
    assert title == "2 jobs, ranked by train/loss"
    assert "train/loss" in header
    assert [row.split()[-1] for row in rows] == ["1", "0"]


def test_an_accuracy_and_a_loss_are_not_compared() -> None:
    jobs = [without_validation(0, "data.val_size=0", 0.1), job(1, "data.val_size=100", 0.2)]
    title, header, *rows = format_table(jobs).splitlines()
    assert title == "2 jobs, ranked by val/acc, then by train/loss"
    assert "val/acc or train/loss" in header
    assert [row.split()[-1] for row in rows] == ["1", "0"]


def test_nan_is_the_worst_loss() -> None:
    jobs = [without_validation(number, f"seed={number}", loss) for number, loss in enumerate((float("nan"), 9.0))]
    different = [JobResult(each.directory, each.name, {"a": each.name}, each.metrics) for each in jobs]
    assert [row.split()[-1] for row in format_table(different).splitlines()[2:]] == ["1", "0"]


def test_metrics_may_be_missing_and_long_values_are_truncated(tmp_path: Path) -> None:
    values = ("0.1", "a_name_of_more_than_24_letters")
    jobs = [
        JobResult(Path(value), str(number), {"lr": value}, {"objective": "val/acc", "val/acc": 0.5, "seconds": 2.0})
        for number, value in enumerate(values)
    ]
    assert [line.split()[1:4] for line in format_table(jobs).splitlines()[2:]] == [
        ["0.1", "0.5000", "-"],
        ["a_name_of_more_than_2...", "0.5000", "-"],
    ]
    write_csv(tmp_path / "x.csv", jobs)
    assert [(row["lr"], row["val/acc"]) for row in rows_of(tmp_path / "x.csv")] == [(value, "0.5") for value in values]


def test_a_long_table_is_truncated_and_the_file_is_not(tmp_path: Path) -> None:
    jobs = [job(number, f"optimizer.lr={number + 1}", number / 100) for number in range(30)]
    assert format_table(jobs).splitlines()[-1] == "and 10 more in leaderboard.csv"
    assert len(format_table(jobs).splitlines()) == 2 + 20 + 1
    write_csv(tmp_path / "x.csv", jobs)
    assert len(rows_of(tmp_path / "x.csv")) == 30


def test_the_file_has_each_job_with_its_metrics(tmp_path: Path) -> None:
    jobs = [
        job(0, "optimizer=sgd seed=0", 0.5),
        job(1, "optimizer=adam seed=0", 0.625),
        job(2, "optimizer=adam seed=1", 0.75),
        job(3, "optimizer=sgd seed=1", error="out of memory, it says"),
    ]
    write_csv(tmp_path / "leaderboard.csv", jobs)
    rows = rows_of(tmp_path / "leaderboard.csv")
    assert [(row["rank"], row["job"], row["status"]) for row in rows] == [
        ("1", "2", "done"),
        ("1", "1", "done"),
        ("2", "0", "done"),
        ("", "3", "failed"),
    ]
    best, failed = rows[0], rows[-1]
    assert (best["objective"], best["value"], float(best["mean"])) == ("val/acc", "0.75", 0.6875)
    assert float(best["standard_deviation"]) == pytest.approx(0.0884, abs=1e-4)
    assert (best["test/acc"], best["seconds"], best["epochs"], best["directory"]) == ("0.25", "2.0", "5", "2")
    assert (best["optimizer"], best["seed"]) == ("adam", "1")
    assert (failed["optimizer"], failed["seed"], failed["error"]) == ("sgd", "1", "out of memory, it says")
    assert failed["value"] == failed["test/acc"] == ""
