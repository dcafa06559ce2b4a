"""Sweeps from the command line: the table, the exit status, and resumption after an interruption."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from tests.config.test_resume import Ask, sigterm_at
from tests.conftest import ROOT, SMALL, Run, RunCommand
from tests.forked import ForkedProcess, RunningProcess
from tests.kill_and_resume import differences, outcome
from tests.sweep.test_resume import record_sweep

__all__ = ["sigterm_at"]
QUICK = "trainer.max_epochs=1"


def leaderboard(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def finished(sweep: Path) -> dict[str, int]:
    """Return when each job was completed."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sweep.glob("*/metrics.json")}


def test_the_table_is_printed_after_the_last_job(run_small: RunCommand, tmp_path: Path) -> None:
    done = run_small("-m", "optimizer=sgd,adam", "seed=range(2)", "test=true", QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    (sweep,) = tmp_path.glob("runs/*/*-sweep")
    title, header, first, second, best, every = done.stdout.splitlines()[-6:]
    assert title == "4 jobs, ranked by val/acc"
    assert header.split() == ["rank", "optimizer", "val/acc", "test/acc", "seconds", "runs", "best", "job"]
    score = r"0\.\d{4} ± 0\.\d{4}"
    for rank, row in enumerate((first, second), start=1):
        assert re.fullmatch(rf" +{rank} +( sgd|adam) +{score}  {score} +\d+\.\d +2 +\d", row)
    rows = leaderboard(sweep)
    assert sorted(row["job"] for row in rows) == ["0", "1", "2", "3"]
    assert [float(row["mean"]) for row in rows] == sorted((float(row["mean"]) for row in rows), reverse=True)
    assert best.split() == ["best", f"{sweep.relative_to(tmp_path)}/{rows[0]['job']}/checkpoints/best.ckpt"]
    assert every.split() == ["all", str(sweep.relative_to(tmp_path) / "leaderboard.csv")]


def test_a_failed_job_is_a_row_and_the_others_run(run_small: RunCommand, tmp_path: Path) -> None:
    arguments = ["optimizer=sgd", QUICK]
    done = run_small("-m", *arguments, "model._target_=nowhere.Net,fashion_mlp.models.MLP", "optimizer.lr=1e30,0.1")
    (sweep,) = tmp_path.glob("runs/*/*-sweep")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: 3 of 4 jobs failed. To run them again: python train.py resume_sweep={sweep.relative_to(tmp_path)}\n"
    )
    rows = {row["job"]: row for row in leaderboard(sweep)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "3": "done",
        "0": "failed",
        "1": "failed",
        "2": "failed",
    }
    assert rows["1"]["error"].startswith("model: Error loading 'nowhere.Net'")  # before it started
    assert rows["2"]["error"].startswith("the loss is")
    assert "Traceback" not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if " failed: " in line) <= 100


def test_without_validation_jobs_are_ranked_by_loss(run_small: RunCommand) -> None:
    done = run_small("-m", "data.val_size=0", "seed=0,1", QUICK)
    assert "ranked by train/loss" in done.stdout


def test_only_missing_jobs_run_again(run_small: RunCommand, run_in_process: RunCommand, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    command = ["optimizer=sgd", "optimizer.lr=0.1,0.01,1e30", QUICK, f"hydra.sweep.dir={sweep}"]
    assert run_small("-m", *command).returncode == 1
    (sweep / "1" / "metrics.json").unlink()
    before, table = finished(sweep), leaderboard(sweep)
    again = run_in_process(f"resume_sweep={sweep}")
    assert again.returncode == 1  # the failed job has failed again
    assert again.stdout.splitlines()[0] == f"sweep     {sweep} (1 job done already)"
    assert again.stdout.count("done already: val/acc") == 1
    after = finished(sweep)
    assert sorted(after) == ["0", "1"]
    assert after["0"] == before["0"]
    assert [{**row, "seconds": ""} for row in leaderboard(sweep)] == [{**row, "seconds": ""} for row in table]

    # The same command with the same directory does the same; another one is refused before it runs.
    assert run_small("-m", *command).stdout.count("done already: val/acc") == 2
    other = run_small("-m", "seed=3,4", f"hydra.sweep.dir={sweep}")
    assert other.returncode == 1
    assert other.stderr.startswith(f"error: hydra.sweep.dir={sweep}: holds another sweep (")
    assert len(other.stderr.splitlines()) == 1
    assert finished(sweep) == after


def test_an_interrupted_job_is_resumed(
    run_small: RunCommand, run_in_process: RunCommand, tmp_path: Path, sigterm_at: Ask
) -> None:
    arguments = ("seed=0,1", "logger=csv", "test=true", "steps_per_execution=2", "model.dropout=0.2")
    assert run_small("-m", *arguments, "hydra.sweep.dir=whole").returncode == 0
    sigterm_at(15, signal.SIGUSR1)
    done = run_small("-m", *arguments, "hydra.sweep.dir=sweep")
    assert (done.returncode, done.stderr) == (138, "interrupted after step 16\n")
    done = run_in_process("resume_sweep=sweep")
    assert (done.returncode, done.stderr) == (0, "")
    assert "from      sweep/0/checkpoints/last.ckpt, with optimizer and schedule, after step 16" in done.stdout
    for job in ("0", "1"):
        assert differences(outcome(tmp_path / "whole" / job), outcome(tmp_path / "sweep" / job)) == []


def test_two_sweeps_in_a_directory_are_refused(run_small: RunCommand, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    with FileLock(sweep / ".lock"):
        done = run_small("-m", "seed=3,4", f"hydra.sweep.dir={sweep}")
    assert (done.returncode, done.stderr) == (1, f"error: {sweep}: in use by another process\n")
    assert [path.name for path in sweep.iterdir()] == [".lock"]


def test_a_sweep_is_not_mixed_with_single_runs(run_small: RunCommand, tmp_path: Path) -> None:
    assert run_small("hydra.run.dir=all/first", QUICK).returncode == 0
    done = run_small("-m", "seed=3,4", "hydra.sweep.dir=all", QUICK)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: hydra.sweep.dir=all: all/first exists and is not of this sweep. Choose another hydra.sweep.dir\n"
    )


@pytest.mark.slow
def test_a_killed_worker_is_reported_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="needs the extra [sweep]")
    directory = tmp_path / "second" / "SyntheticGarments" / "600-200-seed7"
    directory.mkdir(parents=True)
    sweep = tmp_path / "sweep"
    roots = f"data.root={tmp_path / 'second'}"
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    arguments = ["-m", *SMALL, roots, "data.seed=7", QUICK, "seed=0,1", f"hydra.sweep.dir={sweep}", *launcher]
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    pipe = subprocess.PIPE
    with (
        FileLock(directory / ".lock"),  # the jobs wait for it
        subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process,
    ):
        wait_for(sweep / "1" / ".lock", process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [pid for pid in children if b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(workers[0]), signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    line = err.splitlines()[0]  # Python's resource tracker may print lines about the semaphores of the worker
    assert line.startswith("error: hydra/launcher=joblib: A worker process managed by the executor was unexpectedly")
    assert f"the sweep was interrupted; resume with: python train.py resume_sweep={sweep}" in err.splitlines()
    assert "Traceback" not in out + err


@pytest.mark.slow
def test_a_killed_sweep_is_resumed(run_in_process: RunCommand, data_root: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    roots = f"data.root={data_root},{tmp_path / 'second'}"
    arguments = [*SMALL, roots, "data.seed=7", QUICK, f"hydra.sweep.dir={sweep}"]
    # The second job waits for the lock of its data, so it is killed before it ends, however fast the machine is.
    directory = tmp_path / "second" / "SyntheticGarments" / "600-200-seed7"
    directory.mkdir(parents=True)
    with FileLock(directory / ".lock"), ForkedProcess(["-m", *arguments], tmp_path) as process:
        wait_for(sweep / "1" / ".lock", process)
        process.kill()
    before = finished(sweep)
    assert before.keys() == {"0"}
    assert not (sweep / "leaderboard.csv").exists()
    done = run_in_process(f"resume_sweep={sweep}")
    assert (done.returncode, done.stderr) == (0, "")
    assert finished(sweep)["0"] == before["0"]
    assert [row["status"] for row in leaderboard(sweep)] == ["done", "done"]


@pytest.mark.slow
def test_parallel_jobs_share_the_cores(
    run_in_new_process: RunCommand, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joblib = pytest.importorskip("joblib", reason="needs the extra [sweep]")
    monkeypatch.delenv("OMP_NUM_THREADS")
    done = run_in_new_process(
        *record_partial_sweep(tmp_path / "sweep", data_root), "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [(row["job"], row["status"]) for row in leaderboard(tmp_path / "sweep")] == [("0", "done"), ("1", "done")]
    assert Run(tmp_path / "sweep" / "1").metrics["device"] == f"1 x cpu ({max(joblib.cpu_count() // 2, 1)} threads)"
    assert "\n#0  done already: val/acc 1.0000\n" in done.stdout
    assert re.search(r"^#1  epoch 1/1   train loss", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_a_sweep_on_a_cluster_is_resumed(run_in_new_process: RunCommand, data_root: Path, tmp_path: Path) -> None:
    """Submitit's local executor stands in for SLURM."""
    pytest.importorskip("submitit", reason="needs the extra [slurm]")
    done = run_in_new_process(*record_partial_sweep(tmp_path / "sweep", data_root), "hydra/launcher=submitit_local")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path}/sweep (1 job done already)\n" in done.stdout
    assert [(row["job"], row["status"]) for row in leaderboard(tmp_path / "sweep")] == [("0", "done"), ("1", "done")]


def record_partial_sweep(sweep: Path, data_root: Path) -> list[str]:
    """Write the files of a sweep whose first job of two is complete; return its command line."""
    values = dict(text.split("=") for text in (*SMALL, QUICK, f"data.root={data_root}"))  # the last one of a key wins
    typed = [f"{key}={value}" for key, value in values.items()]
    of_job = [text.replace("=false", "=False") for text in typed]  # as Hydra's sweeper writes it
    metrics = {"val/acc": 1.0, "val/loss": 0.0, "test/acc": 0.5, "test/loss": 1.0, "seconds": 1.0}
    record_sweep(sweep, *typed, "seed=0,1")
    (sweep / "0").mkdir()
    (sweep / "0" / "metrics.json").write_text(
        json.dumps({**metrics, "objective": "val/acc", "epochs": 1, "complete": True, "overrides": [*of_job, "seed=0"]})
    )
    return ["-m", *typed, "seed=0,1", f"hydra.sweep.dir={sweep}"]


def wait_for(path: Path, process: "subprocess.Popen[str] | RunningProcess") -> None:
    """Wait until a process has created `path`."""
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)
