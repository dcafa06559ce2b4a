"""OpenMP's threads on a machine whose cores other processes need too."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import torch

THREADS = Path("/proc/self/task")
# Seconds between two checks of `share_cores`.
INTERVAL = 0.2
# Time that all threads of this process together waited for a core, as a multiple of the elapsed time. Waiting becomes
# passive above the first limit and active below the second, which is lower since passive threads wait less.
BUSY, IDLE = 0.5, 0.2


@contextmanager
def share_cores() -> Iterator[None]:
    """Let OpenMP's threads wait passively while other processes keep this one from its cores.

    Between two operations, the threads of GNU's OpenMP, which torch uses on Linux, poll for some milliseconds before
    they sleep. This halves the time of short steps on an idle machine. On a busy one, they poll on cores that others
    need, and two runs at once take four times as long as one. The results are the same.
    """
    if not list(THREADS.glob("*/schedstat")) or torch.get_num_threads() == 1:
        yield
        return
    end = Event()
    watcher = Thread(target=_watch, args=(end,), name="share-cores")
    watcher.start()
    try:
        yield
    finally:
        end.set()
        watcher.join()


def _watch(end: Event) -> None:
    """Switch between active and passive waiting until an event."""
    with ExitStack() as passive:
        is_passive = False
        waited, checked = seconds_without_core(), time.monotonic()
        while not end.wait(INTERVAL):
            last_waited, last_checked = waited, checked
            waited, checked = seconds_without_core(), time.monotonic()
            share = (waited - last_waited) / (checked - last_checked)
            if share > BUSY and not is_passive:
                passive.enter_context(_passive_waiting())
                is_passive = True
            elif share < IDLE and is_passive:
                passive.close()
                is_passive = False


def seconds_without_core() -> float:
    """Return the time that the present threads of this process were ready to run, but had no core, in seconds."""
    nanoseconds = 0
    for path in THREADS.glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


@contextmanager
def _passive_waiting() -> Iterator[None]:
    """Let this process have more OpenMP threads than cores, which makes libgomp poll for some microseconds only.

    libgomp reads its settings once, when it is loaded, and has no function to change them later.
    """
    cores, size = len(os.sched_getaffinity(0)), torch.get_num_threads()
    end = Event()

    def own_a_team() -> None:
        torch.zeros(2**16).add_(1)  # large enough for several threads; those of the team sleep from then on
        end.wait()

    owners = [Thread(target=own_a_team, name="openmp-team") for _ in range((cores - size) // (size - 1) + 1)]
    for owner in owners:
        owner.start()
    try:
        yield
    finally:
        end.set()
        for owner in owners:
            owner.join()
