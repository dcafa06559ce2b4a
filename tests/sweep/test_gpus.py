"""One job a GPU, on a machine that need not have any."""

from pathlib import Path
from threading import Thread

import pytest
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.sweep import gpus
from fashion_mlp.sweep.gpus import free_gpu, reserve_gpu


def config(**trainer: object) -> DictConfig:
    return OmegaConf.create({"trainer": {"accelerator": "auto", "devices": 1, **trainer}})


@pytest.fixture
def several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_gpu_count", lambda: 2)
    monkeypatch.setattr(gpus, "parent_process", object)


@pytest.mark.usefixtures("several_gpus")
def test_jobs_beside_each_other_have_a_gpu_each(tmp_path: Path) -> None:
    first, second, third = config(), config(), config()
    with reserve_gpu(second, tmp_path):
        with reserve_gpu(first, tmp_path):
            assert sorted([*first.trainer.devices, *second.trainer.devices]) == [0, 1]
        with reserve_gpu(third, tmp_path):  # a GPU that was given back
            assert third.trainer.devices == first.trainer.devices


def test_a_job_waits_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "POLL_SECONDS", 0.01)
    got: list[int] = []

    def job() -> None:
        with free_gpu(tmp_path, 1) as index:
            got.append(index)

    waiting = Thread(target=job)
    with free_gpu(tmp_path, 1):
        waiting.start()
        waiting.join(0.05)
        assert got == []
    waiting.join(10)
    assert got == [0]


@pytest.mark.usefixtures("several_gpus")
@pytest.mark.parametrize("trainer", [{"accelerator": "cpu"}, {"devices": 2}, {"devices": [1]}], ids=str)
def test_what_the_user_asked_for_stays(tmp_path: Path, trainer: dict[str, object]) -> None:
    cfg = config(**trainer)
    with reserve_gpu(cfg, tmp_path):
        assert cfg == config(**trainer)


def test_jobs_in_turn_keep_the_first_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_gpu_count", lambda: 2)
    cfg = config()
    with reserve_gpu(cfg, tmp_path):
        assert cfg.trainer.devices == 1
