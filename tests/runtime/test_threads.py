"""Tests that OpenMP's threads wait passively while other processes need the cores, and that no result depends on it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from fashion_mlp.classifier import Classifier
from fashion_mlp.runtime import threads
from fashion_mlp.runtime.threads import seconds_without_core, share_cores
from fashion_mlp.training import train
from tests.conftest import Compose, Run

NEEDS_SCHEDSTAT = pytest.mark.skipif(not Path("/proc/self/schedstat").is_file(), reason="needs Linux with schedstat")


def teams() -> int:
    """Return the number of additional teams of OpenMP's threads."""
    return sum(thread.name == "openmp-team" for thread in threading.enumerate())


@pytest.fixture
def _two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@NEEDS_SCHEDSTAT
@pytest.mark.usefixtures("_two_threads")
def test_waiting_is_passive_while_the_cores_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [0.1, 0.6, 0.3, 0.1, 0.3, 0.9, 0.9]  # of a second without a core, in each second
    times = accumulate(shares, initial=0.0)
    counts, is_over = list[int](), threading.Event()

    def wait() -> float:
        counts.append(teams())
        if len(counts) > len(shares):
            is_over.set()
        return next(times, 0.0)

    monkeypatch.setattr(threads, "seconds_without_core", wait)
    monkeypatch.setattr(threads, "INTERVAL", 0)
    monkeypatch.setattr("time.monotonic", iter(range(10**9)).__next__)
    with share_cores():
        assert is_over.wait(60)
    assert teams() == 0
    needed = len(os.sched_getaffinity(0)) - 1  # teams of two threads
    assert counts[1 : len(shares) + 1] == [0, 0, needed, needed, 0, 0, needed]


@NEEDS_SCHEDSTAT
def test_a_single_thread_is_not_watched() -> None:
    with share_cores():
        assert not any(thread.name == "share-cores" for thread in threading.enumerate())


@NEEDS_SCHEDSTAT
def test_the_time_without_a_core_rises_on_a_busy_core() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])  # on the same core
    try:
        before, begin = seconds_without_core(), time.monotonic()
        while seconds_without_core() < before + 0.01:
            assert time.monotonic() < begin + 60
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, cores)


@NEEDS_SCHEDSTAT
@pytest.mark.usefixtures("_two_threads")
def test_weights_do_not_depend_on_the_waiting(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, most_teams = {}, {}
    compute_training_loss = Classifier.compute_training_loss
    for name, limit in (("active", 1e9), ("passive", -1.0)):
        counts = [0]

        def count(self: Classifier, batch: Any, step: int, counts: list[int] = counts) -> Any:
            counts.append(teams())
            return compute_training_loss(self, batch, step)

        monkeypatch.setattr(Classifier, "compute_training_loss", count)
        monkeypatch.setattr(threads, "BUSY", limit)
        monkeypatch.setattr(threads, "IDLE", limit)
        monkeypatch.setattr(threads, "INTERVAL", 0.001)  # much shorter than a run
        cfg = compose_small(name, "model.hidden_sizes=[256]", "data.batch_size=100")
        train(cfg)
        runs[name], most_teams[name] = Run(cfg.run_dir).checkpoint("last")["state_dict"], max(counts)
    assert most_teams == {"active": 0, "passive": len(os.sched_getaffinity(0)) - 1}
    assert_close(runs["passive"], runs["active"], rtol=0, atol=0)
