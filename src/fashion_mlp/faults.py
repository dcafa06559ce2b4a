"""What goes wrong around a run, told so that it can be mended: a full disk, a folder that was taken away."""

import errno
import logging
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from fashion_mlp.errors import UserError
from fashion_mlp.interruption import Interrupted, StopRequest
from fashion_mlp.run_directory import LAST, PREVIOUS, relative_to_cwd
from fashion_mlp.workers import REMEDY, explain_death

log = logging.getLogger(__name__)

REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space of your quota",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EACCES: "make the folder writable",
    errno.EPERM: "make the folder writable",
    errno.EROFS: "make the file system writable",
    errno.EIO: "look after the disk",
    errno.ENOENT: "put the folder back",
}


@contextmanager
def warn_on_failure(what: str) -> Iterator[None]:
    """Log a line, and do not end the run, if something that is only shown cannot be made.

    Args:
        what: the name of it.
    """
    try:
        yield
    except Exception as error:  # drawing, encoding and loggers can fail in many ways
        reason = (str(error).strip().splitlines() or [""])[0]
        log.warning(f"{what}: left out ({type(error).__name__}: {reason})")


@contextmanager
def faults_explained(run_dir: Path, stop: StopRequest) -> Iterator[None]:
    """Say of a run that ends early how to go on with it.

    Args:
        run_dir: the run's directory.
        stop: what may ask the run to end.

    Raises:
        UserError: instead of an `OSError` of the kinds that a user can mend, and of the death of a loader's worker.
        Interrupted: with how to go on.
    """
    before = threading.excepthook
    threading.excepthook = _without_traceback  # TensorBoard's writer meets a full disk in a thread of its own
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise UserError(
            f"{_file(error) or run_dir}: {error.strerror}; {REMEDIES[error.errno]}{_how_to_go_on(run_dir)}"
        ) from error
    except (Interrupted, RuntimeError) as error:
        explanation = explain_death(error)
        if explanation and stop.signum is not None:  # the signal has ended the workers too
            raise Interrupted(stop.signum, f"interrupted{_how_to_go_on(run_dir)}") from error
        if explanation:
            hint = _how_to_go_on(run_dir)
            raise UserError(f"{explanation}{hint}{' ' + REMEDY if hint and REMEDY in explanation else ''}") from error
        # Lightning fails to clean up after a signal that arrives while it starts a loader.
        interrupted = error.__context__ if isinstance(error, RuntimeError) else error
        if not isinstance(interrupted, Interrupted):
            raise
        message = f"{interrupted.message or 'interrupted'}{_how_to_go_on(run_dir)}"
        raise Interrupted(interrupted.signum, message) from error
    finally:
        threading.excepthook = before


def _file(error: BaseException | None) -> str | None:
    """Return the file of an error, or of the one that it came upon while that was dealt with."""
    while error is not None:
        if isinstance(error, OSError) and error.filename:
            return os.fsdecode(error.filename)  # bytes from TensorBoard
        error = error.__context__
    return None


def _without_traceback(arguments: threading.ExceptHookArgs) -> None:
    is_told = isinstance(arguments.exc_value, OSError) and arguments.exc_value.errno in REMEDIES
    if not is_told:
        threading.__excepthook__(arguments)


def _how_to_go_on(run_dir: Path) -> str:
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return ""  # the sweep says how to resume all of its jobs
    folder = run_dir / "checkpoints"
    if not any((folder / name).exists() for name in (LAST, PREVIOUS)):
        return ""
    return f"; go on with: python train.py resume={shlex.quote(str(relative_to_cwd(run_dir)))}"
