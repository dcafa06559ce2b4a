"""Signals: a run saves its state, prints how to resume it, and exits with the status that shells expect."""

import atexit
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import Any

# SLURM sends SIGUSR1 before it ends a job (`--signal=USR1@60`).
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
# Seconds in which a second signal is the same request: a terminal or scheduler signals all processes, and torchrun, or
# the sweep of a job, forwards the signal to its own.
SAME_REQUEST = 1.0
# Functions to call before the process ends, by a signal or otherwise, in reverse order.
EXIT_HOOKS = ExitStack()
atexit.register(EXIT_HOOKS.close)


class Interrupted(SystemExit):
    """A signal asked the process to end. The exit status is 128 + its number: 130 for Ctrl-C, 143 for SIGTERM.

    It is not an `Exception`, so it ends a whole sweep and not only one of its jobs. It is not a `KeyboardInterrupt`,
    which Lightning would turn into exit status 1.
    """

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(128 + signum)
        self.signum = signum
        self.message = message


def exit_on_signal(signum: int, frame: FrameType | None) -> None:
    """Handle a signal by ending the process at once.

    A `KeyboardInterrupt` can get lost, or turn into another error, while modules are imported or while a library is in
    a state that it must restore.
    """
    erase_line()
    EXIT_HOOKS.close()
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def erase_line() -> None:
    """Erase the last line of a terminal, which shows the typed `^C` and perhaps a progress bar."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{' ' * (shutil.get_terminal_size().columns - 1)}\r")
        sys.stderr.flush()


def exit_at_once() -> AbstractContextManager[bool]:
    """Return a context in which Ctrl-C ends the process at once, without a traceback."""
    return handle(signal.SIGINT, handler=exit_on_signal)


@contextmanager
def handle(*signums: int, handler: Callable[[int, FrameType | None], Any]) -> Iterator[bool]:
    """Handle signals within the block; yield False in a thread, where Python does not allow it."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    before = {signum: signal.signal(signum, handler) for signum in signums if is_main_thread}
    try:
        yield is_main_thread
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


class GracefulStop:
    """A signal handler with which a run saves its state before it ends; a later signal ends the process at once.

    Attributes:
        signum: the number of the signal that was received; None before.
        is_deferred: whether the run checks `signum` itself, when it can save its state. If not, a signal raises
            `Interrupted` where it arrives.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.is_deferred = False
        self._received_at = 0.0
        self._process = os.getpid()
        self._is_installed = False

    @contextmanager
    def install(self) -> Iterator[None]:
        """Handle `SIGNALS` within the block; do nothing in a thread, where Python does not allow it.

        Raises:
            Interrupted: a signal arrived that was not deferred.
        """
        with handle(*SIGNALS, handler=self._on_signal) as self._is_installed:
            yield

    def reinstall(self) -> None:
        """Replace Lightning's handlers, of which that of SIGTERM ends a run with exit status 0."""
        if self._is_installed:
            for signum in SIGNALS:
                signal.signal(signum, self._on_signal)

    def use_default_handlers(self) -> None:
        """Let a signal end the process at once, even in a C++ call that waits for other processes."""
        if self._is_installed:
            for signum in SIGNALS:
                signal.signal(signum, signal.SIG_DFL)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a DataLoader worker, which leaves Ctrl-C to the main process
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
        elif self.signum is not None:
            if time.monotonic() - self._received_at > SAME_REQUEST:
                os._exit(128 + signum)
        else:
            self.signum, self._received_at = signum, time.monotonic()
            if not self.is_deferred:
                raise Interrupted(signum)
