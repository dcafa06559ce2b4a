"""A job runs once: what it left decides whether it runs again."""

import json
import math
from pathlib import Path
from typing import cast

import pytest
from filelock import FileLock
from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.records import read_error, read_jobs
from fashion_mlp.reporting.summary import write_metrics
from fashion_mlp.runtime.console import ConsoleHandler
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.sweep import job
from fashion_mlp.sweep.job import run_job

OVERRIDES = ["optimizer=sgd", "seed=1"]


def hydra_cfg(sweeper: str = "basic") -> HydraConf:
    """Return what a job is told of itself by Hydra."""
    content = {
        "overrides": {"task": OVERRIDES},
        "sweep": {"dir": "sweep"},
        "runtime": {"choices": {"hydra/sweeper": sweeper}},
    }
    return cast("HydraConf", OmegaConf.create(content))


HYDRA = hydra_cfg()


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    (tmp_path / "3").mkdir()
    return OmegaConf.create({"run_dir": str(tmp_path / "3"), "trainer": {"accelerator": "cpu", "devices": 1}})


def never(cfg: DictConfig) -> float:
    raise AssertionError("ran")


def leave(cfg: DictConfig, **metrics: object) -> None:
    Path(cfg.run_dir, "metrics.json").write_text(json.dumps({"epochs": 1, "complete": True, **metrics}))


@pytest.mark.parametrize(
    ("metrics", "objective"),
    [({"val/acc": 0.75, "train/loss": 2.0}, 0.75), ({"train/loss": 2.0}, 2.0)],
    ids=["val/acc", "train/loss"],
)
def test_a_complete_job_is_recalled(cfg: DictConfig, metrics: dict[str, float], objective: float) -> None:
    leave(cfg, overrides=OVERRIDES, **metrics)
    assert run_job(cfg, HYDRA, never) == objective


def test_a_metric_that_is_no_number_is_written_as_null_and_comes_back(cfg: DictConfig) -> None:
    path = Path(cfg.run_dir, "metrics.json")
    metrics = {"overrides": OVERRIDES, "epochs": 1, "val/acc": math.nan, "test/loss": math.inf, "checkpoint": None}
    metrics["complete"] = True
    write_metrics(path, metrics)
    assert json.loads(path.read_text()) == {**metrics, "val/acc": None, "test/loss": None}
    assert math.isnan(run_job(cfg, HYDRA, never))
    (record,) = read_jobs(path.parents[1])
    assert record.score == -math.inf
    assert record.metrics["checkpoint"] is None


def test_the_result_of_another_job_is_refused(cfg: DictConfig) -> None:
    leave(cfg, overrides=["optimizer=adam", "seed=1"], **{"val/acc": 0.75})
    with pytest.raises(SystemExit, match=r"^error: .*3: holds the result of another job"):
        run_job(cfg, HYDRA, never)
    assert not Path(cfg.run_dir, "error.json").exists()


def test_a_job_that_starts_over_removes_its_own_state_only(cfg: DictConfig) -> None:
    folder = Path(cfg.run_dir)
    (folder / "checkpoints").mkdir()
    (folder / "metrics.json").write_text('{"val/acc": 0.')  # truncated
    own = {"error.json", "checkpoints/last.ckpt", "checkpoints/previous.ckpt"}
    others = {"train.log", "holiday.png", "checkpoints/other_project.pt", "events.out.tfevents.1"}
    for name in own | others:
        (folder / name).write_text("before\n")

    def run(cfg: DictConfig) -> float:
        assert all((folder / name).read_text() == "before\n" for name in others)
        assert not any((folder / name).exists() for name in own)
        return 0.5

    assert run_job(cfg, HYDRA, run) == 0.5


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("data.root: gone", "seed: none"), "data.root: gone error: seed: none"),
        (RuntimeError("out of memory\n  in the kernel"), "RuntimeError: out of memory in the kernel"),
    ],
    ids=["the user's", "another"],
)
def test_a_failure_is_recorded_and_does_not_end_the_sweep(cfg: DictConfig, error: Exception, line: str) -> None:
    def run(cfg: DictConfig) -> float:
        Path(cfg.run_dir, ".lock").unlink()
        Path(cfg.run_dir).rmdir()  # as a run does that fails while it is built
        raise error

    assert math.isnan(run_job(cfg, HYDRA, run))
    (record,) = read_jobs(Path(cfg.run_dir).parent)
    assert (record.name, record.error) == ("3", line)
    assert record.overrides == {"optimizer": "sgd", "seed": "1"}


def test_a_search_finds_out_why_a_job_failed(cfg: DictConfig) -> None:
    assert math.isnan(run_job(cfg, hydra_cfg("fashion_mlp"), never))
    assert read_error(Path(cfg.run_dir)) == "AssertionError: ran"
    assert read_error(Path(cfg.run_dir).parent) == "its process ended"


def test_a_job_that_another_process_runs_is_left_alone(cfg: DictConfig) -> None:
    (Path(cfg.run_dir) / "checkpoints").mkdir()
    with FileLock(Path(cfg.run_dir, ".lock")):
        assert math.isnan(run_job(cfg, HYDRA, never))
    (record,) = read_jobs(Path(cfg.run_dir).parent)
    assert record.error.endswith("in use by another process")
    assert (Path(cfg.run_dir) / "checkpoints").exists()


def test_the_lines_of_a_worker_begin_with_its_job(
    cfg: DictConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(job, "parent_process", object)
    monkeypatch.setattr("logging.root.handlers", [ConsoleHandler()])
    leave(cfg, overrides=OVERRIDES, **{"val/acc": 0.75})
    run_job(cfg, HYDRA, never)
    assert capsys.readouterr().out == "#3  done already: val/acc 0.7500\n"
