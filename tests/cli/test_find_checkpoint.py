"""Tests that a directory or `latest` names a checkpoint."""

import json
import os
from pathlib import Path

import pytest

from fashion_mlp.cli.find_checkpoint import find_checkpoint, names_checkpoint
from fashion_mlp.runtime.errors import UserError


def write_run(directory: Path, *names: str, time: float = 1.0, accuracy: float | None = None, seed: int = 0) -> Path:
    """Write empty checkpoints and, unless `accuracy` is None, the result of a job."""
    checkpoints = directory / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name in names:
        (checkpoints / name).touch()
    os.utime(checkpoints, (time, time))
    if accuracy is not None:
        overrides = [f"seed={seed}", f"optimizer.lr={accuracy}"]
        metrics = {"complete": True, "objective": "val/acc", "val/acc": accuracy, "overrides": overrides}
        (directory / "metrics.json").write_text(json.dumps(metrics))
    return directory


@pytest.mark.parametrize(
    ("names", "expected"), [(("last.ckpt", "best.ckpt"), "best.ckpt"), (("last.ckpt", "previous.ckpt"), "last.ckpt")]
)
def test_run_directory_names_its_best_or_last_checkpoint(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    run_dir = write_run(tmp_path / "run", *names)
    assert find_checkpoint(run_dir) == run_dir / "checkpoints" / expected
    assert names_checkpoint(str(run_dir))


def test_file_names_itself_even_if_it_is_missing() -> None:
    assert find_checkpoint(Path("gone.ckpt")) == Path("gone.ckpt")


def test_sweep_directory_names_the_best_job_of_its_leaderboard(tmp_path: Path) -> None:
    for job, accuracy in enumerate((0.5, 0.9, 0.7)):
        write_run(tmp_path / "sweep" / str(job), "best.ckpt", "last.ckpt", accuracy=accuracy)
    assert find_checkpoint(tmp_path / "sweep") == tmp_path / "sweep/1/checkpoints/best.ckpt"


def test_latest_names_the_newest_run_including_jobs_of_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/1/single"), "best.ckpt", time=2.0)
    newest = write_run(Path("runs/1/a-sweep/7"), "best.ckpt", "last.ckpt", time=3.0)
    write_run(Path("runs/2/has-just-started"), time=4.0)
    assert find_checkpoint(Path("latest")) == newest / "checkpoints/best.ckpt"


@pytest.mark.parametrize("word", ["latest", "runs"])
def test_directory_without_a_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/1/has-just-started"))
    with pytest.raises(UserError, match=f"^{word}: no checkpoint"):
        find_checkpoint(Path(word))
