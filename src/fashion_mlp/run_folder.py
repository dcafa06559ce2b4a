"""A run's folder: one run claims it, and it goes again if nothing came of the run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fashion_mlp.errors import UserError

LEFT_BY_A_RUN = ("checkpoints", "csv", "wandb", "error.json", "events.out.tfevents.*", "hparams.yaml", "*.png")


@contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """Take `run_dir` for this run while it is being built; an error gives it back.

    Creating `checkpoints/` is atomic, so of two runs with the same folder only one gets it.

    Raises:
        UserError: the folder holds a run already, or cannot be written.
    """
    checkpoints = run_dir / "checkpoints"
    try:
        checkpoints.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"{run_dir}: holds a run already; give this one another hydra.run.dir") from error
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be written ({error.strerror}); set hydra.run.dir") from error
    try:
        yield
    except BaseException:
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


def _give_back(run_dir: Path) -> None:
    """Remove what a run that came to nothing has written, and nothing else."""
    for name in (".hydra", "checkpoints"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    for log in run_dir.glob("*.log"):
        log.unlink()
    for folder in (run_dir, *run_dir.parents):  # runs/DATE/TIME, as far as they hold nothing else
        if folder == Path.cwd() or not folder.is_dir() or any(folder.iterdir()):
            break
        folder.rmdir()
