"""Failures of the environment (memory, disk, other processes, signals) as one-line messages with a remedy."""

import errno
import logging
import os
import re
import shlex
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

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
    "not enough memory",  # torch on a CPU under Windows
    "ALLOC_FAILED",  # CUDA's libraries
    "failed to map segment",  # the dynamic loader, in an ImportError
    "Cannot allocate memory",  # the system, in an OSError
)
# Without workers, no process can die unnoticed, and shared memory is not used.
REMEDY = "data.num_workers=0"
# Iterations for which a thread of OpenMP polls before it sleeps. By libgomp's default, 300,000, a run takes nine times
# as long while another process uses the cores; by 1000, a run alone takes a quarter longer.
SPIN_COUNT = "2000"
# Errors of the operating system whose text tells the user what to correct, such as "No space left on device".
OS_ERRORS = ("EACCES", "EDQUOT", "EFBIG", "EIO", "ENOENT", "ENOSPC", "EPERM", "EROFS")


@contextmanager
def importing_torch() -> Iterator[None]:
    """Import modules that need torch within the block; Ctrl-C ends the process at once.

    The import takes seconds and, with CUDA, gigabytes of address space. It loads libgomp (Linux), which reads
    `GOMP_SPINCOUNT` then, unless the user chose how its threads wait. Other OpenMP libraries ignore the variable.

    Raises:
        UserError: there is too little memory.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    with exit_at_once(), explain_oom("torch cannot be loaded; free memory, or raise its limit (ulimit -v)"):
        yield


def is_oom_error(error: BaseException) -> bool:
    """Return whether an error reports too little memory."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in OOM_MESSAGES)


@contextmanager
def explain_oom(remedy: str) -> Iterator[None]:
    """Turn an error about too little memory into a `UserError` with a remedy."""
    try:
        yield
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if not is_oom_error(error):
            raise
        requested = re.search(r"allocate ([\d.]+ \w+)", str(error))
        device = next((name for name in ("CUDA", "MPS") if name in str(error)), "the CPU")
        size = f", which could not give {requested[1]} more" if requested else ""
        raise UserError(f"out of memory on {device}{size}: {remedy}") from error


def oom_hint(config: Mapping[str, Any]) -> str:
    """Return the keys of a run that determine its memory, with their values."""
    data = config["data"]
    keys = [f"data.batch_size ({data.get('batch_size')})"]
    if "hidden_sizes" in config["model"]:
        keys.append(f"model.hidden_sizes ({list(config['model']['hidden_sizes'])})")
    evaluation = f"data.eval_batch_size ({data.get('eval_batch_size')})"
    return f"lower {', '.join(keys)}, for validation and test {evaluation}, or set trainer.precision=bf16-true"


@contextmanager
def warn_on_failure(name: str) -> Iterator[None]:
    """Log a warning, and let the run continue, if an output that is only for display fails.

    Args:
        name: of the output.
    """
    try:
        yield
    except Exception as error:  # drawing, encoding and loggers can fail in many ways
        reason = (str(error).strip().splitlines() or [""])[0]
        log.warning(f"{name}: left out ({type(error).__name__}: {reason})")


@contextmanager
def explain_run_failures(run_dir: Path, stop: GracefulStop) -> Iterator[None]:
    """Turn the errors that end a run early into one-line messages, with the command that resumes the run.

    Args:
        run_dir: the run directory.
        stop: the signal handler of the run.

    Raises:
        UserError: in place of an error in `OS_ERRORS`, or if another process of the run died.
        Interrupted: by a signal.
    """
    before = threading.excepthook
    threading.excepthook = _hide_os_errors  # TensorBoard writes in a thread, where a full disk raises too
    try:
        yield
    except UserError:
        raise
    except (Interrupted, Exception) as error:
        hint = _resume_hint(run_dir)
        if _is_correctable(error):
            path = os.fsdecode(error.filename or run_dir)  # bytes from TensorBoard
            raise UserError(f"{path}: {error.strerror}{hint}") from error
        # A signal also interrupts libraries, which then raise errors of any type, and ends workers.
        interrupted = error if isinstance(error, Interrupted) else stop.signum and Interrupted(stop.signum)
        if interrupted:
            raise Interrupted(interrupted.signum, f"{interrupted.message or 'interrupted'}{hint}") from error
        if explanation := _describe_death(error):
            raise UserError(f"{explanation}{hint}{' ' + REMEDY if hint and REMEDY in explanation else ''}") from error
        raise
    finally:
        threading.excepthook = before


def _is_correctable(error: BaseException | None) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in OS_ERRORS


def _hide_os_errors(arguments: threading.ExceptHookArgs) -> None:
    if not _is_correctable(arguments.exc_value):
        threading.__excepthook__(arguments)


def _resume_hint(run_dir: Path) -> str:
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return ""  # the sweep prints the command that resumes it
    if not any((run_dir / CHECKPOINTS / name).exists() for name in (LAST, PREVIOUS)):
        return ""
    return f"; resume with: python train.py resume={shlex.quote(str(relative_to_cwd(run_dir)))}"


def _describe_death(error: BaseException) -> str:
    """Return an error message if torch raised `error` because a process died; else an empty string."""
    reason = (str(error).strip().splitlines() or [""])[0].partition(". ")[0].rstrip(".")
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    is_closed = isinstance(error, ConnectionError | EOFError) and "multiprocessing" in "".join(files)
    if is_closed or reason.startswith(("DataLoader worker (pid", "Pin memory thread exited")):
        cause = reason or type(error).__name__
        return f"data.num_workers: a process that fetches batches died ({cause}). Set {REMEDY}"
    if "unable to allocate shared memory" in str(error):
        return f"data.num_workers: shared memory is full. Set {REMEDY}"
    if "/gloo/" in reason and reason.endswith("by peer"):
        return "trainer.devices: another process of the run died"
    return ""


@contextmanager
def explain_worker_deaths() -> Iterator[None]:
    """Turn torch's error about a dead worker into a `UserError`."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if explanation := _describe_death(error):
            raise UserError(explanation) from error
        raise
