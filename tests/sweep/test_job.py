"""A job runs unless its directory holds its result. It gets its own GPU if there are several."""

import json
import math
from pathlib import Path
from threading import Thread
from typing import cast

import pytest
import torch
from filelock import FileLock
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.command_line import initialize_hydra
from fashion_mlp.config.records import write_metrics
from fashion_mlp.runtime.console import ConsoleHandler
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.sweep import job
from fashion_mlp.sweep.job import merge_options_once, read_error, read_jobs, reserve_gpu, run_job

OVERRIDES = ["optimizer=sgd", "seed=1"]


def hydra_cfg(sweeper: str = "basic") -> HydraConf:
    """Return Hydra's part of the configuration of a job."""
    content = {
        "overrides": {"task": OVERRIDES},
        "sweep": {"dir": "sweep"},
        "runtime": {"choices": {"hydra/sweeper": sweeper, "hydra/launcher": "basic"}},
    }
    return cast("HydraConf", OmegaConf.create(content))


HYDRA = hydra_cfg()
TRAINER = {"accelerator": "cpu", "devices": 1, "num_nodes": 1}


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    (tmp_path / "3").mkdir()
    return OmegaConf.create({"run_dir": str(tmp_path / "3"), "trainer": TRAINER})


def never(cfg: DictConfig, overrides: list[str], *, resumed: bool) -> float:
    raise AssertionError("ran")


def write_result(cfg: DictConfig, **metrics: object) -> None:
    Path(cfg.run_dir, "metrics.json").write_text(
        json.dumps({"objective": "val/acc", "epochs": 1, "complete": True, **metrics})
    )


@pytest.mark.parametrize(
    ("objective", "expected"), [("val/acc", 0.75), ("train/loss", 2.0)], ids=["val/acc", "train/loss"]
)
def test_a_complete_job_does_not_run_again(cfg: DictConfig, objective: str, expected: float) -> None:
    write_result(cfg, overrides=OVERRIDES, objective=objective, **{"val/acc": 0.75, "train/loss": 2.0})
    assert run_job(cfg, HYDRA, never) == expected


def test_nan_is_written_as_null_and_read_as_nan(cfg: DictConfig) -> None:
    path = Path(cfg.run_dir, "metrics.json")
    metrics = {"overrides": OVERRIDES, "epochs": 1, "val/acc": math.nan, "test/loss": math.inf, "checkpoint": None}
    metrics |= {"objective": "val/acc", "complete": True}
    write_metrics(path, metrics)
    assert json.loads(path.read_text()) == {**metrics, "val/acc": None, "test/loss": None}
    assert math.isnan(run_job(cfg, HYDRA, never))
    (record,) = read_jobs(path.parents[1])
    assert record.score == -math.inf
    assert record.metrics["checkpoint"] is None


def test_the_result_of_another_job_is_refused(cfg: DictConfig) -> None:
    write_result(cfg, overrides=["optimizer=adam", "seed=1"], **{"val/acc": 0.75})
    with pytest.raises(SystemExit, match=r"^error: .*3: holds the result of another job"):
        run_job(cfg, HYDRA, never)
    assert not Path(cfg.run_dir, "error.json").exists()


def test_an_interrupted_job_keeps_its_state_and_forgets_its_error(cfg: DictConfig) -> None:
    directory = Path(cfg.run_dir)
    (directory / "checkpoints").mkdir()
    (directory / "metrics.json").write_text('{"val/acc": 0.')  # truncated
    names = {"train.log", "holiday.png", "checkpoints/last.ckpt", "checkpoints/previous.ckpt"}
    for name in names | {"error.json"}:
        (directory / name).write_text("before\n")

    def run(cfg: DictConfig, overrides: list[str], *, resumed: bool) -> float:
        assert all((directory / name).read_text() == "before\n" for name in names)
        assert not (directory / "error.json").exists()
        return 0.5

    assert run_job(cfg, HYDRA, run) == 0.5


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("data.root: gone", "seed: none"), "data.root: gone error: seed: none"),
        (RuntimeError("out of memory\n  in the kernel"), "RuntimeError: out of memory in the kernel"),
    ],
    ids=["user", "other"],
)
def test_a_failure_is_recorded_and_does_not_end_the_sweep(cfg: DictConfig, error: Exception, line: str) -> None:
    def run(cfg: DictConfig, overrides: list[str], *, resumed: bool) -> float:
        Path(cfg.run_dir, ".lock").unlink()
        Path(cfg.run_dir).rmdir()  # as a run does that fails before it starts
        raise error

    assert math.isnan(run_job(cfg, HYDRA, run))
    (record,) = read_jobs(Path(cfg.run_dir).parent)
    assert (record.name, record.error) == ("3", line)
    assert record.overrides == {"optimizer": "sgd", "seed": "1"}


def test_a_search_reads_why_a_job_failed(cfg: DictConfig) -> None:
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


def test_the_lines_of_a_worker_start_with_its_job(
    cfg: DictConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(job, "parent_process", object)
    monkeypatch.setattr("logging.root.handlers", [ConsoleHandler()])
    monkeypatch.setattr(ConsoleHandler, "prefix", "")  # restored after the test
    write_result(cfg, overrides=OVERRIDES, **{"val/acc": 0.75})
    run_job(cfg, HYDRA, never)
    assert capsys.readouterr().out == "#3  done already: val/acc 0.7500\n"


def gpu_config(**trainer: object) -> DictConfig:
    return OmegaConf.create({"trainer": {"accelerator": "auto", "devices": 1, **trainer}})


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(job, "parent_process", object)


@pytest.mark.usefixtures("two_gpus")
def test_parallel_jobs_have_a_gpu_each(tmp_path: Path) -> None:
    first, second, third = gpu_config(), gpu_config(), gpu_config()
    with reserve_gpu(second, tmp_path):
        with reserve_gpu(first, tmp_path):
            assert sorted([*first.trainer.devices, *second.trainer.devices]) == [0, 1]
        with reserve_gpu(third, tmp_path):  # the GPU that the first one has released
            assert third.trainer.devices == first.trainer.devices


@pytest.mark.usefixtures("two_gpus")
def test_a_job_waits_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "POLL_SECONDS", 0.01)
    first, second, third = gpu_config(), gpu_config(), gpu_config()

    def wait() -> None:
        with reserve_gpu(third, tmp_path):
            pass

    waiting = Thread(target=wait)
    with reserve_gpu(first, tmp_path):
        with reserve_gpu(second, tmp_path):
            waiting.start()
            waiting.join(0.05)
            assert third == gpu_config()
        waiting.join(10)
    assert third == second


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("trainer", [{"accelerator": "cpu"}, {"devices": 2}, {"devices": [1]}], ids=str)
def test_configured_devices_are_kept(tmp_path: Path, trainer: dict[str, object]) -> None:
    cfg = gpu_config(**trainer)
    with reserve_gpu(cfg, tmp_path):
        assert cfg == gpu_config(**trainer)


def test_sequential_jobs_use_the_first_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cfg = gpu_config()
    with reserve_gpu(cfg, tmp_path):
        assert cfg.trainer.devices == 1


def test_jobs_whose_options_are_merged_once_equal_those_that_hydra_composes(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = ["optimizer=adam,sgd", "seed=1,2", "+optimizer.amsgrad=true", "~callbacks.ema", "trainer=cpu"]
    others = ["+optimizer.amsgrad=true", "~callbacks.ema", "trainer=cpu"]
    jobs = [[f"optimizer={name}", f"seed={seed}", *others] for name in ("adam", "sgd") for seed in (1, 2)]
    jobs += [["optimizer=adam", "seed=1", *others, "hydra.sweep.subdir=7"], ["seed=3", "model={hidden_sizes:[7]}"]]
    with initialize_hydra():
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        master = loader.load_configuration("train", [*sweep, "hydra.job.chdir=false"], RunMode.MULTIRUN)
        directory = master.hydra.sweep.dir  # contains the time
        expected = [loader.load_sweep_config(master, overrides) for overrides in jobs]
        merged: list[list[str]] = []
        compose = loader.load_configuration

        def load_configuration(config_name: str, overrides: list[str], run_mode: RunMode) -> DictConfig:
            merged.append(overrides)
            return compose(config_name, overrides, run_mode)

        monkeypatch.setattr(loader, "load_configuration", load_configuration)
        merge_options_once(loader)
        actual = [loader.load_sweep_config(master, overrides) for overrides in jobs]
    assert len(merged) == 4
    for one, other in zip(actual, expected, strict=True):
        assert OmegaConf.to_yaml(one) == OmegaConf.to_yaml(other)
        assert one.hydra.sweep.dir == directory
        assert OmegaConf.is_struct(one)
    actual[0].optimizer.lr = 7.0
    assert actual[1].optimizer.lr != 7.0
