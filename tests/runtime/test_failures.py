"""Errors of the disk name the file, and the death of a process a remedy; both name the command to resume."""

import errno
import gc
import multiprocessing
import signal
import sys
from pathlib import Path

import pytest

from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.failures import explain_failures, importing_torch
from fashion_mlp.runtime.signals import GracefulStop, Interrupted

# As TensorBoard raises it.
GONE = FileNotFoundError(errno.ENOENT, "No such file or directory", b"/gone/events.out.tfevents")


def test_the_garbage_collector_ignores_modules_and_searches_the_objects_of_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "lightning", raising=False)
    before = gc.get_freeze_count()
    with importing_torch():
        assert not gc.isenabled()
        monkeypatch.setitem(sys.modules, "lightning", None)
    frozen = gc.get_freeze_count()
    assert frozen > before
    assert gc.isenabled()
    job: list[object] = [{}]
    with importing_torch():
        pass
    try:
        assert gc.isenabled()
        assert gc.get_freeze_count() == frozen
        assert any(found is job for found in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_path_in_bytes_is_shown_as_text(tmp_path: Path) -> None:
    message = r"^/gone/events.out.tfevents: No such file or directory$"
    with pytest.raises(UserError, match=message), explain_failures("", tmp_path):
        raise GONE


KILLED = "DataLoader worker (pid 7) is killed by signal: Killed. "
DEATHS = {
    KILLED: r"data.num_workers: .* is killed by signal: Killed\). Set data.num_workers=0{hint} data.num_workers=0",
    "DataLoader worker (pid(s) 7, 8) exited unexpectedly": r"data.num_workers: .*{hint} data.num_workers=0",
    "[/a/gloo/tcp/pair.cc:5] Read error [::1]:1: Connection reset by peer. See the logs": r"trainer.devices: .*{hint}",
}


@pytest.mark.parametrize("message", DEATHS)
def test_the_death_of_a_process_names_the_command_to_resume(tmp_path: Path, message: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    expected = DEATHS[message].format(hint=rf"; resume with: python train.py resume={tmp_path}")
    with pytest.raises(UserError, match=f"^{expected}$"), explain_failures("", tmp_path):
        raise RuntimeError(message)


def test_a_closed_connection_to_a_worker_is_its_death(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with pytest.raises(UserError, match=r"^data.num_workers: .*EOFError"), explain_failures("", tmp_path):
        ours.recv()
    with pytest.raises(ConnectionError), explain_failures("", tmp_path):
        raise ConnectionError("of a logger")


def test_a_signal_to_all_processes_is_an_interruption(tmp_path: Path) -> None:
    stop = GracefulStop()
    stop.signum = signal.SIGTERM
    for error in (RuntimeError(KILLED), AttributeError("of a library that the signal has interrupted")):
        with pytest.raises(Interrupted) as caught, explain_failures("", tmp_path, stop):
            raise error
        assert caught.value.code == 143
    with pytest.raises(UserError, match="No space left on device"), explain_failures("", tmp_path, stop):
        raise OSError(errno.ENOSPC, "No space left on device", "last.ckpt")


@pytest.mark.parametrize("message", ["Caught KeyError in DataLoader worker process 0.", "mat1 and mat2 shapes"])
def test_other_errors_are_unchanged(tmp_path: Path, message: str) -> None:
    with pytest.raises(RuntimeError, match=message), explain_failures("", tmp_path):
        raise RuntimeError(message)
    with pytest.raises(UserError, match=r"Set data.num_workers=0$"), explain_failures(""):
        raise RuntimeError(KILLED)
