"""Failures of the environment as one-line messages with a remedy: memory, disk, other processes, signals."""

import errno
import gc
import logging
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import CHECKPOINTS, LAST, PREVIOUS, relative_to_cwd
from fashion_mlp.runtime.signals import GracefulStop, Interrupted, exit_at_once

log = logging.getLogger(__name__)

# Texts in errors about too little memory.
OOM_MESSAGES = (
    "out of memory",  # torch on CUDA and MPS
    "can't allocate memory",  # torch on a CPU
    "ALLOC_FAILED",  # CUDA's libraries
    "failed to map segment",  # the dynamic loader, in an ImportError
    "Cannot allocate memory",  # the system, in an OSError
)
# Errors of the operating system whose text tells the user what to correct, such as "No space left on device".
OS_ERRORS = ("EACCES", "EDQUOT", "EFBIG", "EIO", "ENOENT", "ENOSPC", "EPERM", "EROFS")


@contextmanager
def importing_torch() -> Iterator[None]:
    """Import modules that need torch within the block; Ctrl-C ends the process at once.

    The import takes seconds and, with CUDA, gigabytes of address space. The garbage collector ignores the objects of
    the modules, half a million: searching them takes a second during the import, and another when the process ends.

    Raises:
        UserError: there is too little memory.
    """
    is_loaded = "lightning" in sys.modules
    gc.disable()
    try:
        with exit_at_once(), explain_failures("torch cannot be loaded; free memory, or raise its limit (ulimit -v)"):
            yield
    finally:
        gc.enable()
    if not is_loaded:  # later, the garbage of a job would be ignored too
        gc.freeze()


@contextmanager
def explain_failures(oom_remedy: str, run_dir: Path | None = None, stop: GracefulStop | None = None) -> Iterator[None]:
    """Turn failures of the environment into one-line messages, with the command that resumes a run.

    Args:
        oom_remedy: what to do if there is too little memory.
        run_dir: the directory of the run, if there is one.
        stop: the signal handler of the run.

    Raises:
        UserError: there is too little memory, the system reported one of `OS_ERRORS`, or another process died.
        Interrupted: a signal was received.
    """
    before = threading.excepthook
    threading.excepthook = _hide_os_errors  # TensorBoard writes in a thread, where a full disk raises too
    try:
        yield
    except UserError:
        raise
    except (Interrupted, Exception) as error:
        if is_oom_error(error):
            device = next((name for name in ("CUDA", "MPS") if name in str(error)), "the CPU")
            raise UserError(f"out of memory on {device}: {oom_remedy}") from error
        hint = _resume_hint(run_dir)
        if _is_correctable(error):
            path = os.fsdecode(error.filename or run_dir or "")  # bytes from TensorBoard
            raise UserError(f"{path}: {error.strerror}{hint}") from error
        # A signal also interrupts libraries, which then raise errors of any type, and ends workers.
        interrupted = error if isinstance(error, Interrupted) else stop and stop.signum and Interrupted(stop.signum)
        if interrupted:
            raise Interrupted(interrupted.signum, f"{interrupted.message or 'interrupted'}{hint}") from error
        if explanation := _describe_death(error, hint):
            raise UserError(explanation) from error
        raise
    finally:
        threading.excepthook = before


@contextmanager
def warn_on_failure(name: str) -> Iterator[None]:
    """Log a warning, and let the run continue, if an output that is only for display fails.

    Args:
        name: name of the output.
    """
    try:
        yield
    except Exception as error:  # drawing, encoding and loggers can fail in many ways
        log.warning(f"{name}: left out ({type(error).__name__}: {_first_line(error)})")


def is_oom_error(error: BaseException) -> bool:
    """Return whether an error reports too little memory."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in OOM_MESSAGES)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _is_correctable(error: BaseException | None) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in OS_ERRORS


def _hide_os_errors(arguments: threading.ExceptHookArgs) -> None:
    if not _is_correctable(arguments.exc_value):
        threading.__excepthook__(arguments)


def _resume_hint(run_dir: Path | None) -> str:
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return ""  # the sweep prints the command that resumes it
    if run_dir is None or not any((run_dir / CHECKPOINTS / name).exists() for name in (LAST, PREVIOUS)):
        return ""
    return f"; resume with: python train.py resume={shlex.quote(str(relative_to_cwd(run_dir)))}"


def _describe_death(error: BaseException, hint: str) -> str:
    """Return an error message if `error` reports that another process died; else an empty string."""
    reason = _first_line(error).partition(". ")[0].rstrip(".")
    if "/gloo/" in reason and reason.endswith("by peer"):
        return f"trainer.devices: another process of the run died{hint}"
    if "unable to allocate shared memory" in str(error):
        return f"data.num_workers: shared memory is full. Set data.num_workers=0{hint}"
    files = "".join(frame.filename for frame in traceback.extract_tb(error.__traceback__))
    is_closed = isinstance(error, ConnectionError | EOFError) and "multiprocessing" in files
    if not is_closed and not reason.startswith(("DataLoader worker (pid", "Pin memory thread exited")):
        return ""
    cause, remedy = reason or type(error).__name__, "data.num_workers=0"
    return f"data.num_workers: a process that fetches batches died ({cause}). Set {remedy}{hint}{hint and f' {remedy}'}"
