"""The processes of data loaders: how many fit in shared memory, and what to report when one dies."""

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
# Batches that each worker keeps ready: the default of `DataLoader`.
PREFETCHED = 2
# Batches that the main process holds: the current one, and the next, which Lightning prefetches.
HELD = 2
REMEDY = "data.num_workers=0"


def largest_batch(count: int, processes: int = 1) -> int:
    """Return the largest size of a batch, in bytes, for which the batches of all workers fit in shared memory.

    Args:
        count: the number of workers of each process.
        processes: the number of processes.
    """
    if not SHARED_MEMORY.is_dir():  # macOS, which has no such limit
        return sys.maxsize
    free = os.statvfs(SHARED_MEMORY).f_bavail * os.statvfs(SHARED_MEMORY).f_frsize
    return free // (2 * processes) // (PREFETCHED * count + HELD)


def workers_that_fit(count: int, batch_bytes: int, processes: int = 1) -> int:
    """Return how many of `count` workers can fetch batches of this size at once; warn if not all can."""
    fitting = next((fewer for fewer in range(count, 0, -1) if largest_batch(fewer, processes) >= batch_bytes), 0)
    if fitting < count and is_rank_zero():
        log.warning(
            f"data.num_workers={count}: only {fitting} are used, since {SHARED_MEMORY} is too small for batches of "
            f"{batch_bytes / 1e6:.1f} MB. Enlarge it (docker run --shm-size=1g) or lower the batch size"
        )
    return fitting


def explain_death(error: BaseException) -> str:
    """Return an error message if `error` is torch's report of a process that died; else an empty string."""
    reason = (str(error).strip().splitlines() or [""])[0].partition(". ")[0].rstrip(".")
    if reason.startswith(("DataLoader worker (pid", "Pin memory thread exited")):
        return f"data.num_workers: a process that fetches batches died ({reason}). Set {REMEDY}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ConnectionError | EOFError) and any("multiprocessing" in frame.filename for frame in frames):
        return f"data.num_workers: a process that fetches batches died ({type(error).__name__}). Set {REMEDY}"
    if "unable to allocate shared memory" in str(error):
        return f"data.num_workers: {SHARED_MEMORY} is full. Set {REMEDY}"
    if "/gloo/" in reason and reason.endswith("by peer"):
        return "trainer.devices: another process of the run died"
    return ""


@contextmanager
def explain_worker_deaths() -> Iterator[None]:
    """Raise `UserError` in place of torch's error about a worker that died."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if explanation := explain_death(error):
            raise UserError(explanation) from error
        raise
