"""The directory of a run: created for one run, locked while it is in use, removed if the run does not start."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from fashion_mlp.runtime.errors import UserError, exit_on_user_error
from fashion_mlp.runtime.ranks import is_rank_zero
from fashion_mlp.runtime.signals import EXIT_HOOKS

LOCK = ".lock"
CHECKPOINTS = "checkpoints"
# Files that a run writes, and that it must not find.
RESULTS = ("confusion_matrix.png", "curves.png", "hparams.yaml", "metrics.json", "mistakes.png", "predictions.png")
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"


# The directories of runs that have not started, each locked, with what was created for it: innermost first.
_not_started: dict[Path, list[Path]] = {}


class RunDirectory(Callback):
    """Creates the directory of a single run before Hydra writes to it: a directory of another run stays untouched."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if not is_rank_zero() or config.get("resume") is not None:
            return
        typed, record = config.hydra.run.dir, config.hydra.output_subdir
        run_dir = resolve(typed)
        records = [f"{record}/{name}.yaml" for name in ("config", "hydra", "overrides")] if record else []
        with exit_on_user_error():
            if record and (run_dir / records[-1]).exists():
                raise UserError(f"hydra.run.dir={typed}: {taken(typed)}")
            if found := [name for name in RESULTS if (run_dir / name).exists()]:
                raise UserError(f"hydra.run.dir={typed}: a run would overwrite {found[0]}. Choose another")
            create(run_dir, [f"{config.hydra.job.name}.log", *records, *([record] if record else [])])
        with read_write(config.hydra):
            config.hydra.run.dir = str(run_dir)


def resolve(path: str | Path) -> Path:
    """Return an absolute path without symbolic links and `~`."""
    return Path(path).expanduser().resolve()


def create(run_dir: Path, outputs: Sequence[str] = ()) -> None:
    """Create the directory of a new run and lock it, unless this process has done so.

    Args:
        run_dir: as `resolve` returns it.
        outputs: names of files and directories that are written there before the run starts, the files of a directory
            before it.

    Raises:
        UserError: the directory holds a run, is in use by another process, or is not writable.
    """
    if run_dir in _not_started:
        return
    parents = [path for path in (run_dir, *run_dir.parents) if not path.exists()]
    new = [run_dir / name for name in (*outputs, CHECKPOINTS, LOCK) if not (run_dir / name).exists()]
    _acquire(run_dir)
    _not_started[run_dir] = [*new, *parents]
    try:
        (run_dir / CHECKPOINTS).mkdir()
    except FileExistsError as error:
        _remove(run_dir)
        raise UserError(f"{run_dir}: {taken(relative_to_cwd(run_dir))}") from error


@contextmanager
def removed_unless_started() -> Iterator[None]:
    """Remove what `create` and the run have written if the block raises before `keep`."""
    EXIT_HOOKS.append(_remove_not_started)
    try:
        yield
    except BaseException:
        _remove_not_started()
        raise
    finally:
        EXIT_HOOKS.remove(_remove_not_started)


def keep(run_dir: Path) -> None:
    """Keep the directory of a run that starts, whatever happens to it."""
    if _not_started.pop(run_dir, None) is not None:
        _lock_of(run_dir).release()


@contextmanager
def lock(run_dir: Path) -> Iterator[None]:
    """Lock a run directory for this process; the lock ends with the process at the latest.

    Raises:
        UserError: another process works there, or the directory is not writable.
    """
    _acquire(run_dir)
    try:
        yield
    finally:
        _lock_of(run_dir).release()


def remove_written(paths: Iterable[Path]) -> None:
    """Remove files and empty directories; a directory that holds anything else stays, and so do its parents."""
    for path in paths:
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def start_over(run_dir: Path) -> None:
    """Remove the states that an interrupted run left, so that it starts from the beginning."""
    for name in (LAST, PREVIOUS):
        (run_dir / CHECKPOINTS / name).unlink(missing_ok=True)


def command(overrides: Sequence[str]) -> str:
    """Return a command line to paste into a shell."""
    return shlex.join(["python", "train.py", *overrides])


def hydra_quote(path: Path) -> str:
    """Quote a path as a value for Hydra's override parser."""
    escaped = str(path).replace("'", "\\'")
    return f"'{escaped}'"


def relative_to_cwd(path: Path) -> Path:
    """Return a path relative to the directory in which the command was typed, or unchanged if it is outside."""
    # Not the working directory: hydra.job.chdir=true changes that.
    cwd = Path(HydraConfig.get().runtime.cwd if HydraConfig.initialized() else Path.cwd())
    return path.relative_to(cwd) if path.is_relative_to(cwd) else path


def _lock_of(run_dir: Path) -> FileLock:
    # A singleton, which a process may acquire several times: for a job of a sweep and for its run.
    return FileLock(run_dir / LOCK, is_singleton=True)


def _acquire(run_dir: Path) -> None:
    """Create and lock a run directory."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        _lock_of(run_dir).acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{run_dir}: in use by another process") from error
    except OSError as error:
        raise UserError(f"{run_dir}: not writable ({error.strerror}). Set hydra.run.dir") from error


def taken(shown: str | Path) -> str:
    """Return why a run directory cannot be used for a new run."""
    return f"holds a run already. Resume it with resume={shown}, or choose another hydra.run.dir"


def _remove_not_started() -> None:
    for run_dir in list(_not_started):
        _remove(run_dir)


def _remove(run_dir: Path) -> None:
    """Remove what was created for a run that did not start; a failure to do so must not hide why it did not."""
    created = _not_started.pop(run_dir)
    _lock_of(run_dir).release()
    remove_written(created)
