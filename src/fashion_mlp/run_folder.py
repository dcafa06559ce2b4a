"""A run's folder: one run claims it, and it goes again if nothing came of the run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fashion_mlp.errors import UserError

LOCK = ".lock"
LEFT_BY_A_RUN = ("checkpoints", "csv", "wandb", "error.json", "events.out.tfevents.*", "hparams.yaml", "*.png")


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """Keep a run's folder to this process, until it ends by whatever means.

    Raises:
        UserError: another process runs there, or the folder cannot be written.
    """
    # A job of a sweep holds its folder already: in one process the same lock can be taken twice.
    lock = FileLock(run_dir / LOCK, is_singleton=True)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{run_dir}: is being run by another process") from error
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be written ({error.strerror}); set hydra.run.dir") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claimed(run_dir: Path, *, resumed: bool = False) -> Iterator[None]:
    """Take `run_dir` for this run while it is being built; an error gives it back, if it is a new run's.

    Creating `checkpoints/` is atomic, so of two runs with the same folder only one gets it.

    Raises:
        UserError: the folder holds a run already, or cannot be written.
    """
    try:
        checkpoints = run_dir / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=resumed)
        for half_written in checkpoints.glob(".*.ckpt.*"):
            half_written.unlink()
    except FileExistsError as error:
        raise UserError(
            f"{run_dir}: holds a run already; go on with it by resume={run_dir}, or give this one another hydra.run.dir"
        ) from error
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be written ({error.strerror}); set hydra.run.dir") from error
    try:
        yield
    except BaseException:
        if not resumed:
            _give_back(run_dir)
        raise


def clear(run_dir: Path) -> None:
    """Remove what a run that was not completed has left, so that it can be run again; its log goes on."""
    for pattern in LEFT_BY_A_RUN:
        for path in run_dir.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def begin_anew(run_dir: Path) -> None:
    """Remove what a run has left that was interrupted before its first checkpoint; its configuration and log stay."""
    clear(run_dir)
    (run_dir / "checkpoints").mkdir()


def quoted(path: Path) -> str:
    """Write a path as a value that Hydra reads back whatever is in it."""
    escaped = str(path).replace("'", "\\'")
    return f"'{escaped}'"


def from_here(path: Path) -> Path:
    """Return a path as one would type it in the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _give_back(run_dir: Path) -> None:
    """Remove what a run that came to nothing has written, and nothing else."""
    for name in (".hydra", "checkpoints"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    for file in (*run_dir.glob("*.log"), run_dir / LOCK):
        file.unlink(missing_ok=True)
    for folder in (run_dir, *run_dir.parents):  # runs/DATE/TIME, as far as they hold nothing else
        if folder == Path.cwd() or not folder.is_dir() or any(folder.iterdir()):
            break
        folder.rmdir()
