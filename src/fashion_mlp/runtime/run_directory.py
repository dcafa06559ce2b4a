"""The directory of a run: created for a single run, locked while in use, removed if the run does not start."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from fashion_mlp.runtime.errors import UserError, exit_on_user_error
from fashion_mlp.runtime.ranks import is_rank_zero
from fashion_mlp.runtime.signals import EXIT_HOOKS

LOCK = ".lock"
CHECKPOINTS = "checkpoints"
BEST = "best.ckpt"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
# Files that a run writes. A new run must not overwrite one.
ARTIFACTS = ("confusion_matrix.png", "curves.png", "hparams.yaml", "metrics.json", "mistakes.png", "predictions.png")

# The directories of runs that have not started yet, each with what removes and unlocks it.
_not_started: dict[Path, ExitStack] = {}


class RunDirectory(Callback):
    """Creates the directory of a single run before Hydra writes to it, unless the directory holds another run."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if not is_rank_zero() or config.get("resume") is not None:
            return
        typed, subdir = config.hydra.run.dir, config.hydra.output_subdir
        run_dir = resolve(typed)
        saved = [f"{subdir}/{name}.yaml" for name in ("config", "hydra", "overrides")] if subdir else []
        with exit_on_user_error():
            if any((run_dir / name).exists() for name in (CHECKPOINTS, *saved)):
                raise UserError(f"hydra.run.dir={typed}: {existing_run_message(typed)}")
            if found := [name for name in ARTIFACTS if (run_dir / name).exists()]:
                raise UserError(f"hydra.run.dir={typed}: a run would overwrite {found[0]}. Choose another")
            create(run_dir, [f"{config.hydra.job.name}.log", *saved, *([subdir] if subdir else [])])
        with read_write(config.hydra):
            config.hydra.run.dir = str(run_dir)


def resolve(path: str | Path) -> Path:
    """Return an absolute path without symbolic links and `~`."""
    return Path(path).expanduser().resolve()


def expand_home(value: Any) -> Any:
    """Replace `~` at the start of a text, and of each text in a dict or list, by the home directory."""
    if isinstance(value, dict):
        return {key: expand_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand_home(item) for item in value]
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111, Path changes a URL


def create(run_dir: Path, outputs: Sequence[str] = ()) -> None:
    """Create the directory of a new run and lock it, unless this process has done so.

    Args:
        run_dir: as `resolve` returns it.
        outputs: names of the files and directories that Hydra writes before the run starts; a directory follows its
            files.

    Raises:
        UserError: the directory holds a run, is in use by another process, or is not writable.
    """
    if run_dir in _not_started:
        return
    parents = [path for path in (run_dir, *run_dir.parents) if not path.exists()]
    new = [run_dir / name for name in (*outputs, CHECKPOINTS, LOCK) if not (run_dir / name).exists()]
    with ExitStack() as undo:
        undo.enter_context(lock(run_dir))
        undo.callback(remove_written, [*new, *parents])
        try:
            (run_dir / CHECKPOINTS).mkdir()
        except FileExistsError as error:
            raise UserError(f"{run_dir}: {existing_run_message(relative_to_cwd(run_dir))}") from error
        _not_started[run_dir] = undo.pop_all()


@contextmanager
def remove_unless_started() -> Iterator[None]:
    """Remove the directories that `create` has created within the block, unless `keep` was called."""
    try:
        yield
    finally:
        _remove_not_started()


def keep(run_dir: Path) -> None:
    """Keep the directory of a run that starts, even if the run fails later."""
    _not_started.pop(run_dir, ExitStack()).pop_all()


def lock(directory: Path) -> AbstractContextManager[object]:
    """Create a directory and lock it for this process until the returned context ends.

    Raises:
        UserError: another process has locked the directory, or it is not writable.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # A singleton, which a process may acquire several times: for a job of a sweep and for its run. It is released
        # when nothing refers to it.
        return FileLock(directory / LOCK, is_singleton=True).acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{directory}: in use by another process") from error
    except OSError as error:
        raise UserError(f"{directory}: not writable ({error.strerror}). Choose another directory") from error


def remove_written(paths: Iterable[Path]) -> None:
    """Remove files and empty directories; a directory that contains other files is kept, and so are its parents."""
    for path in paths:
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def existing_run_message(directory: str | Path) -> str:
    """Return why the directory of a run cannot be used for a new run."""
    return f"holds a run already. Resume it with resume={directory}, or choose another hydra.run.dir"


def relative_to_cwd(path: Path) -> Path:
    """Return a path relative to the working directory, or unchanged if it is outside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _remove_not_started() -> None:
    """Remove the paths created for runs that did not start. `remove_written` raises no errors of its own."""
    while _not_started:
        _not_started.popitem()[1].close()


EXIT_HOOKS.callback(_remove_not_started)  # a signal can end the process before the `finally` of a block runs
