"""The directory of a run: files that it writes, removes and keeps."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fashion_mlp.runtime.run_directory import create, keep, lock, remove_unless_started
from tests.config.test_resume import Ask, sigterm_at
from tests.conftest import LOGGED_AND_TESTED, Run, RunCommand
from tests.kill_and_resume import differences, outcome

__all__ = ["sigterm_at"]

QUICK = "trainer.max_epochs=1"
# Refused after the directory of the run was created.
BROKEN = "+callbacks.mine._target_=nowhere.Mine"


def contents(directory: Path) -> dict[str, str]:
    """Return the text of each file, and an empty string for each directory."""
    return {
        str(path.relative_to(directory)): path.read_text() if path.is_file() else "" for path in directory.rglob("*")
    }


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Lock a run directory in another process."""
    lock = f"filelock.FileLock({str(run_dir / '.lock')!r})"
    program = f"import filelock, sys\nwith {lock}:\n print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


@pytest.mark.parametrize("run_dir", [".", "mine", "mine/empty/new"])
def test_a_run_that_does_not_start_removes_only_what_it_wrote(
    run_small: RunCommand, tmp_path: Path, run_dir: str
) -> None:
    for place in (tmp_path, tmp_path / "mine"):
        (place / ".hydra").mkdir(parents=True)
        for name in (".hydra/notes.yaml", "train.log", "other.log", "events.out.tfevents.1"):
            (place / name).write_text("of the user")
    (tmp_path / "mine" / "empty").mkdir()
    before = contents(tmp_path)
    done = run_small(f"hydra.run.dir={run_dir}", BROKEN)
    assert done.returncode == 1
    assert done.stderr.startswith("error: callbacks.mine: Error loading")
    assert contents(tmp_path) == before


def test_a_cleanup_that_fails_does_not_hide_the_reason(
    run_small: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, a parent directory can be a mount point."""

    def busy(path: Path) -> None:
        raise OSError(16, "Device or resource busy", str(path))

    monkeypatch.setattr(Path, "rmdir", busy)
    done = run_small("hydra.run.dir=a/b", BROKEN)
    assert done.returncode == 1
    assert done.stderr.startswith("error: callbacks.mine: Error loading")
    assert not (tmp_path / "a/b/.hydra/config.yaml").exists()


@pytest.mark.parametrize("of_the_run", [".hydra/overrides.yaml", "checkpoints/last.ckpt"])
def test_the_directory_of_another_run_is_not_changed(run_small: RunCommand, tmp_path: Path, of_the_run: str) -> None:
    (tmp_path / "a" / of_the_run).parent.mkdir(parents=True)
    (tmp_path / "a" / of_the_run).write_text("of another run")
    done = run_small("hydra.run.dir=a")
    assert done.returncode == 1
    assert done.stderr == (
        "error: hydra.run.dir=a: holds a run already. Resume it with resume=a, or choose another hydra.run.dir\n"
    )
    assert contents(tmp_path / "a") == {str(Path(of_the_run).parent): "", of_the_run: "of another run"}


@pytest.mark.parametrize("name", ["metrics.json", "curves.png"])
def test_a_run_overwrites_no_file(run_small: RunCommand, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("of the user")
    done = run_small("hydra.run.dir=.")
    assert done.stderr == f"error: hydra.run.dir=.: a run would overwrite {name}. Choose another\n"
    assert contents(tmp_path) == {name: "of the user"}


def test_a_directory_in_use_is_not_changed(run_small: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a"):
        done = run_small("hydra.run.dir=a")
        assert contents(tmp_path / "a") == {".lock": ""}
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/a: in use by another process\n"


def test_a_directory_is_locked_until_the_run_ends(tmp_path: Path) -> None:
    program = f"import filelock; filelock.FileLock({str(tmp_path / 'a/.lock')!r}).acquire(timeout=0)"
    command = [sys.executable, "-c", program]
    with remove_unless_started():
        create(tmp_path / "a")
        assert b"Timeout" in subprocess.run(command, capture_output=True).stderr
        with lock(tmp_path / "a"):
            keep(tmp_path / "a")
            assert b"Timeout" in subprocess.run(command, capture_output=True).stderr
    assert subprocess.run(command).returncode == 0


def test_resumption_of_a_run_in_use_changes_nothing(
    run_small: RunCommand, run_in_process: RunCommand, tmp_path: Path
) -> None:
    assert run_small("hydra.run.dir=a", "trainer.max_epochs=1").returncode == 0
    with locked(tmp_path / "a"):
        before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
        done = run_in_process("resume=a", "trainer.max_epochs=2")
        assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == before
    assert done.stderr == f"error: {tmp_path}/a: in use by another process\n"


def test_the_working_directory_can_be_the_run_directory(run_small: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("of the user\n")
    done = run_small("hydra.run.dir=.", "trainer.max_epochs=1", "logger=tensorboard")
    assert (done.returncode, done.stderr) == (0, "")
    assert "tensorboard --logdir .\n" in done.stdout
    assert (tmp_path / "metrics.json").is_file()
    assert (tmp_path / "train.log").read_text().startswith("of the user\n")


def test_a_run_behind_a_symbolic_link_is_complete(
    run_small: RunCommand, run_in_process: RunCommand, tmp_path: Path, sigterm_at: Ask
) -> None:
    """The first of four epochs is the best one, also when the run is resumed through the link."""
    rate = "optimizer.lr=0.5", "trainer.max_epochs=4", *LOGGED_AND_TESTED
    assert run_small("hydra.run.dir=whole", *rate).returncode == 0
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    sigterm_at(25)
    done = run_small("hydra.run.dir=link/a", *rate)
    assert done.returncode == 143, done.stderr
    assert run_in_process("resume=link/a").returncode == 0
    metrics = Run(tmp_path / "disk/a").metrics
    assert (metrics["checkpoint"], metrics["epoch"]) == ("checkpoints/best.ckpt", 1)
    assert differences(outcome(tmp_path / "whole"), outcome(tmp_path / "disk/a")) == []


@pytest.mark.parametrize("run_dir", ["link/b", "relative/b"])
def test_run_directory_may_be_relative_or_behind_a_link(run_small: RunCommand, tmp_path: Path, run_dir: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    done = run_small(f"hydra.run.dir={run_dir}", "trainer.max_epochs=1", "test=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert Run(tmp_path / run_dir).metrics["checkpoint"] == "checkpoints/best.ckpt"


def test_a_checkpoint_outside_the_run_directory_has_an_absolute_path(run_small: RunCommand, tmp_path: Path) -> None:
    done = run_small("callbacks.best_checkpoint.dirpath=elsewhere", "test=true", QUICK, "hydra.run.dir=a")
    assert (done.returncode, done.stderr) == (0, "")
    assert Run(tmp_path / "a").metrics["checkpoint"] == f"{tmp_path}/elsewhere/best.ckpt"


def test_a_sweep_runs_behind_a_symbolic_link(run_small: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    done = run_small("-m", "seed=1,2", "hydra.sweep.dir=link/s", "trainer.max_epochs=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "disk/s").glob("*/metrics.json"))) == 2


def test_a_sweep_does_not_write_to_directories_that_are_not_its_own(run_small: RunCommand, tmp_path: Path) -> None:
    for name in ("0/holiday.png", "0/checkpoints/other_project.pt"):
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).write_text("of the user")
    before = contents(tmp_path)
    done = run_small("-m", "seed=1,2", "hydra.sweep.dir=s", "trainer.max_epochs=1")
    assert done.returncode == 1
    assert done.stderr == (
        "error: hydra.sweep.dir=s: s/0 exists and is not of this sweep. Choose another hydra.sweep.dir\n"
    )
    assert contents(tmp_path) == before


def test_a_resumed_sweep_keeps_files_that_are_not_its_own(
    run_small: RunCommand, run_in_process: RunCommand, tmp_path: Path
) -> None:
    sweep = tmp_path / "s"
    command = "seed=1", f"hydra.sweep.dir={sweep}", "trainer.max_epochs=1", *LOGGED_AND_TESTED
    assert run_small("-m", *command).returncode == 0
    (sweep / "0/metrics.json").unlink()
    names = ("0/holiday.png", "0/checkpoints/other_project.pt", "0/events.out.tfevents.1.host.2.0", "0/my.log")
    for name in names:
        (sweep / name).write_text("of the user")
    before = set(sweep.glob("0/*.fashion-mlp"))
    assert run_in_process(f"resume_sweep={sweep}").returncode == 0
    assert [(sweep / name).read_text() for name in names] == ["of the user"] * 4
    assert len(before) == 3
    assert len(before.intersection(sweep.glob("0/*.fashion-mlp"))) == 1  # of training; those of the test are replaced
    assert (sweep / "0/metrics.json").is_file()
