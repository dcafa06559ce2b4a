"""The worker processes of data loaders: how many fit in shared memory, and why one died."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.ranks import is_rank_zero

log = logging.getLogger(__name__)

# Workers send batches to the main process through shared memory. Containers often have 64 MB of it.
SHARED_MEMORY = Path("/dev/shm")
# Batches that each worker prefetches: the default of `DataLoader`.
PREFETCHED = 2
# Batches in the main process: the current one, and the next, which Lightning prefetches.
IN_USE = 2
REMEDY = "data.num_workers=0"


def max_batch_bytes(num_workers: int, processes: int = 1) -> int:
    """Return the largest size of a batch, in bytes, for which the batches of all workers fit in shared memory.

    Args:
        num_workers: of each process.
        processes: the number of processes.
    """
    if not SHARED_MEMORY.is_dir():  # macOS, which has no such limit
        return sys.maxsize
    free = os.statvfs(SHARED_MEMORY).f_bavail * os.statvfs(SHARED_MEMORY).f_frsize
    return free // (2 * processes) // (PREFETCHED * num_workers + IN_USE)


def limit_num_workers(num_workers: int, batch_bytes: int, processes: int = 1) -> int:
    """Return how many of `num_workers` can fetch batches of this size; log a warning if not all can."""
    fitting = next((n for n in range(num_workers, 0, -1) if max_batch_bytes(n, processes) >= batch_bytes), 0)
    if fitting < num_workers and is_rank_zero():
        log.warning(
            f"data.num_workers={num_workers}: only {fitting} are used, since {SHARED_MEMORY} is too small for batches "
            f"of {batch_bytes / 1e6:.1f} MB. Enlarge it (docker run --shm-size=1g) or lower the batch size"
        )
    return fitting


def describe_death(error: BaseException) -> str:
    """Return an error message if torch raised `error` because a process died; else an empty string."""
    reason = (str(error).strip().splitlines() or [""])[0].partition(". ")[0].rstrip(".")
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    is_closed = isinstance(error, ConnectionError | EOFError) and "multiprocessing" in "".join(files)
    if is_closed or reason.startswith(("DataLoader worker (pid", "Pin memory thread exited")):
        cause = reason or type(error).__name__
        return f"data.num_workers: a process that fetches batches died ({cause}). Set {REMEDY}"
    if "unable to allocate shared memory" in str(error):
        return f"data.num_workers: {SHARED_MEMORY} is full. Set {REMEDY}"
    if "/gloo/" in reason and reason.endswith("by peer"):
        return "trainer.devices: another process of the run died"
    return ""


@contextmanager
def explain_worker_deaths() -> Iterator[None]:
    """Turn torch's error about a dead worker into a `UserError`."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if explanation := describe_death(error):
            raise UserError(explanation) from error
        raise
