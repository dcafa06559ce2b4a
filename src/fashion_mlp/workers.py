"""Processes that a run depends on, and what to do when one of them dies: torch then raises a `RuntimeError`."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Lock
from pathlib import Path

from fashion_mlp.errors import UserError
from fashion_mlp.processes import is_first

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux has it: what workers fetch reaches the main process through it. Containers often have 64 MB."""
PREFETCHED = 2
"""Batches that each worker has ready, as torch has it by default."""
HELD = 2
"""Batches that the main process holds besides: the one in use, and Lightning's next."""
REMEDY = "data.num_workers=0"
SEMAPHORES = 10
"""A worker has four, and those that a loader has besides are no more; there are two loaders."""


def check_workers(count: int) -> None:
    """Check that a loader can have the semaphores of `count` workers, for which Linux needs some of `/dev/shm`.

    Raises:
        UserError: it cannot.
    """
    try:
        _ = [Lock() for _ in range(SEMAPHORES * count)]
    except OSError as error:
        raise UserError(f"data.num_workers={count}: cannot start processes ({error.strerror}). Set {REMEDY}") from error


def largest_batch(count: int, processes: int = 1) -> int:
    """Return the bytes that a batch may have so that those that `count` workers fetch at once fit in shared memory.

    Args:
        count: the number of workers.
        processes: how many processes have so many workers.
    """
    if not SHARED_MEMORY.is_dir():  # macOS, which has no such limit
        return sys.maxsize
    free = os.statvfs(SHARED_MEMORY).f_bavail * os.statvfs(SHARED_MEMORY).f_frsize
    return free // (2 * processes) // (PREFETCHED * count + HELD)


def workers_that_fit(count: int, batch_bytes: int, processes: int = 1) -> int:
    """Return how many of `count` workers can fetch batches of this size at once; say so if these are fewer."""
    fitting = next((fewer for fewer in range(count, 0, -1) if largest_batch(fewer, processes) >= batch_bytes), 0)
    if fitting < count and is_first():
        log.warning(
            f"data.num_workers={count}: {fitting} are used, since batches of {batch_bytes / 1e6:.0f} MB for more do not "
            f"fit in {SHARED_MEMORY}; enlarge it (docker run --shm-size=1g), or lower the batch size"
        )
    return fitting


def explain_death(error: BaseException) -> str:
    """Return a line if an error is torch's report of a process that died or has no memory to share; else nothing."""
    reason = (str(error).strip().splitlines() or [""])[0].partition(". ")[0].rstrip(".")
    if reason.startswith(("DataLoader worker (pid", "Pin memory thread exited")):
        return f"data.num_workers: a process that fetches batches died ({reason}). Set {REMEDY}"
    if "unable to allocate shared memory" in str(error):
        return f"data.num_workers: {SHARED_MEMORY} is full. Set {REMEDY}"
    if "/gloo/" in reason and reason.endswith("by peer"):
        return "trainer.devices: another process of the run died"
    return ""


@contextmanager
def worker_deaths_explained() -> Iterator[None]:
    """Turn the death of a worker into one line.

    Raises:
        UserError: a worker died.
    """
    try:
        yield
    except RuntimeError as error:
        if explanation := explain_death(error):
            raise UserError(explanation) from error
        raise
