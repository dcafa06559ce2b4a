"""The command line that resumes a sweep."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from fashion_mlp.config.command_line import hydra_quote
from fashion_mlp.config.resume import expand_resume
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.sweep.job import JobResult
from fashion_mlp.sweep.leaderboard import check_same_sweep
from tests.conftest import check

HYDRA_OVERRIDES = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=8", "hydra.mode=MULTIRUN", "hydra.sweep.dir=x"]


def record_sweep(directory: Path, *task: str, **hydra: Any) -> Path:
    """Write the record that Hydra writes when a sweep starts."""
    record = {
        "overrides": {"task": list(task), "hydra": HYDRA_OVERRIDES},
        "runtime": {"config_sources": [{"provider": "main", "path": "conf"}]},
        "job": {"config_name": "train"},
        "sweeper": {"params": None},
        "sweep": {"subdir": "${hydra.job.num}"},
        **hydra,
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "multirun.yaml").write_text(yaml.safe_dump({"seed": 42, "hydra": record}))
    return directory


def test_the_command_of_the_sweep_is_restored(tmp_path: Path) -> None:
    directory = record_sweep(tmp_path / "a sweep's", "optimizer=sgd,adam", "seed=range(2)")
    command = expand_resume([f"resume_sweep={directory}", "hydra.launcher.n_jobs=2"])
    assert command == [
        "--multirun",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=8",
        "optimizer=sgd,adam",
        "seed=range(2)",
        f"hydra.sweep.dir={hydra_quote(directory)}",
        "hydra.launcher.n_jobs=2",
    ]


def test_another_launcher_replaces_the_first(tmp_path: Path) -> None:
    directory = record_sweep(tmp_path / "sweep", "seed=0,1")
    command = expand_resume([f"resume_sweep={directory}", "hydra/launcher=basic"])
    assert command == ["--multirun", "seed=0,1", f"hydra.sweep.dir={hydra_quote(directory)}", "hydra/launcher=basic"]


def test_config_dirs_and_names_are_restored(tmp_path: Path) -> None:
    sources = [{"provider": "command-line", "path": "/elsewhere"}]
    directory = record_sweep(tmp_path / "sweep", runtime={"config_sources": sources}, job={"config_name": "mine"})
    command = expand_resume(["-m", f"resume_sweep={directory}"])
    assert command[1:5] == ["--config-name", "mine", "--config-dir", "/elsewhere"]


@pytest.mark.parametrize("typed", ["", "seed=1", "-m seed=1,2", "resume_sweep=null", "--cfg job resume_sweep=x"])
def test_other_command_lines_are_unchanged(typed: str) -> None:
    assert expand_resume(typed.split()) == typed.split()


def test_mistakes_are_reported_in_one_line(tmp_path: Path) -> None:
    record_sweep(tmp_path / "sweep", "seed=0,1")
    (tmp_path / "none").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "multirun.yaml").write_text("{")
    record_sweep(tmp_path / "other", overrides={"task": [1]})
    record_sweep(tmp_path / "deep")
    (tmp_path / "deep" / "multirun.yaml").write_text("[" * 2_000)
    mistakes = {
        f"resume_sweep={tmp_path}/gone": "no such directory",
        f"resume_sweep={tmp_path}/none": "no record of a sweep",
        f"resume_sweep={tmp_path}/damaged": "no record of a sweep",
        f"resume_sweep={tmp_path}/other": "no record of a sweep",
        f"resume_sweep={tmp_path}/deep": "no record of a sweep",
        f"resume_sweep={tmp_path}/sweep seed=2": "seed=2: not supported with resume_sweep=",
        "resume_swep=x": "resume_swep=x: no such key; did you mean resume_sweep?",
    }
    for typed, message in mistakes.items():
        with pytest.raises(UserError) as caught:
            check(expand_resume(typed.split()))
        assert message in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_the_restored_command_is_checked_too(tmp_path: Path) -> None:
    directory = record_sweep(tmp_path / "sweep", overrides={"task": ["optimizer.lr=1,-1"], "hydra": []})
    with pytest.raises(UserError, match=r"optimizer.lr=-1: invalid value. Expected a number greater than 0"):
        check(expand_resume([f"resume_sweep={directory}"]))


def test_the_directory_of_another_sweep_is_refused(tmp_path: Path) -> None:
    directory = record_sweep(tmp_path / "sweep", "seed=0,1")
    now = yaml.safe_load((directory / "multirun.yaml").read_text())["hydra"]
    done = JobResult(directory / "0", "0", {"seed": "0"}, {"val/acc": 0.5})
    check_same_sweep(directory, OmegaConf.create({"hydra": now}), [done])
    check_same_sweep(tmp_path / "new", OmegaConf.create({"hydra": now}), [])
    for change in (
        {"overrides": {"task": ["seed=1,2"]}},
        {"sweeper": {"params": {"optimizer": "sgd,adam"}}},
        {"job": {"config_name": "mine"}},
        {"runtime": {"config_sources": [{"provider": "command-line", "path": "/elsewhere"}]}},
        {"sweep": {"subdir": "${hydra.job.override_dirname}"}},
    ):
        with pytest.raises(UserError, match=r"holds another sweep \(seed=0,1\). Choose another directory, or resume"):
            check_same_sweep(directory, OmegaConf.create({"hydra": now | change}), [])
    other = JobResult(tmp_path / "new/1", "1", {"seed": "0", "optimizer": "sgd"}, {"val/acc": 0.5})
    with pytest.raises(UserError, match=r"new: \S*/1 exists and is not of this sweep"):
        check_same_sweep(tmp_path / "new", OmegaConf.create({"hydra": now}), [other])
