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

from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import CHECKPOINTS, LAST, PREVIOUS, relative_to_cwd
from fashion_mlp.runtime.signals import GracefulStop, Interrupted
from fashion_mlp.runtime.workers import REMEDY, explain_death

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
def explain_os_errors(run_dir: Path, stop: GracefulStop) -> Iterator[None]:
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
    except UserError:
        raise
    except (Interrupted, Exception) as error:
        hint = _resume_hint(run_dir)
        if isinstance(error, OSError) and error.errno in REMEDIES:
            path = os.fsdecode(error.filename or run_dir)  # bytes from TensorBoard
            raise UserError(f"{path}: {error.strerror}; {REMEDIES[error.errno]}{hint}") from error
        # A signal interrupts libraries too, which then fail in ways of their own, and it ends workers.
        interrupted = error if isinstance(error, Interrupted) else stop.signum and Interrupted(stop.signum)
        if interrupted:
            raise Interrupted(interrupted.signum, f"{interrupted.message or 'interrupted'}{hint}") from error
        if explanation := explain_death(error):
            raise UserError(f"{explanation}{hint}{' ' + REMEDY if hint and REMEDY in explanation else ''}") from error
        raise
    finally:
        threading.excepthook = before


def _without_traceback(arguments: threading.ExceptHookArgs) -> None:
    if not (isinstance(arguments.exc_value, OSError) and arguments.exc_value.errno in REMEDIES):
        threading.__excepthook__(arguments)


def _resume_hint(run_dir: Path) -> str:
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return ""  # the sweep says how to resume all of its jobs
    if not any((run_dir / CHECKPOINTS / name).exists() for name in (LAST, PREVIOUS)):
        return ""
    return f"; go on with: python train.py resume={shlex.quote(str(relative_to_cwd(run_dir)))}"
