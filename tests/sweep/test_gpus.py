"""A GPU for each job, on a machine that need not have any."""

import pytest
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.sweep import job
from fashion_mlp.sweep.job import assign_gpu


def config(**trainer: object) -> DictConfig:
    return OmegaConf.create({"trainer": {"accelerator": "auto", "devices": 1, **trainer}})


@pytest.fixture
def several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_gpu_count", lambda: 2)
    monkeypatch.setattr(job, "parent_process", object)


@pytest.mark.usefixtures("several_gpus")
def test_jobs_beside_each_other_have_a_gpu_each() -> None:
    jobs = [config() for _ in range(3)]
    for number, cfg in enumerate(jobs):
        assign_gpu(cfg, number)
    assert [cfg.trainer.devices for cfg in jobs] == [[0], [1], [0]]


@pytest.mark.usefixtures("several_gpus")
@pytest.mark.parametrize("trainer", [{"accelerator": "cpu"}, {"devices": 2}, {"devices": [1]}], ids=str)
def test_what_the_user_asked_for_stays(trainer: dict[str, object]) -> None:
    cfg = config(**trainer)
    assign_gpu(cfg, 1)
    assert cfg == config(**trainer)


def test_jobs_in_turn_keep_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_gpu_count", lambda: 2)
    cfg = config()
    assign_gpu(cfg, 1)
    assert cfg.trainer.devices == 1
