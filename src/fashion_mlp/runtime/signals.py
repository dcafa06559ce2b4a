"""SIGTERM and Ctrl-C: a run saves, says how to go on with it, and ends with the status that a shell expects."""

import atexit
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Its number, which Windows does not know.
SIGPIPE = 13
# What is called before the process ends, by a signal or otherwise, the last one first.
EXIT_HOOKS: list[Callable[[], None]] = []


class Interrupted(SystemExit):
    """A run was asked to end. Its status is 128 and the signal's number, such as 130 for Ctrl-C and 143 for SIGTERM.

    It is no `Exception`, so that it ends a sweep and not only a job of it, and no `KeyboardInterrupt`, which Lightning
    would turn into a status of 1.
    """

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(128 + signum)
        self.signum = signum
        self.message = message

    def __str__(self) -> str:
        return self.message


def exit_on_signal(signum: int, frame: FrameType | None) -> None:
    """Handle a signal by ending the process at once.

    A `KeyboardInterrupt` can be lost, or become another error, while modules are imported or a library is in a state
    that it must restore.
    """
    erase_line()
    run_exit_hooks()
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


@atexit.register
def run_exit_hooks() -> None:
    """Call what is in `EXIT_HOOKS`, once."""
    while EXIT_HOOKS:
        EXIT_HOOKS.pop()()


def erase_line() -> None:
    """Erase the last line of a terminal, which holds the `^C` that was typed and perhaps a progress bar."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{' ' * (shutil.get_terminal_size().columns - 1)}\r")
        sys.stderr.flush()


@contextmanager
def exit_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process at once within the block, without a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, exit_on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class GracefulStop:
    """What a signal asks of a run. The first one is answered as soon as it can be, the second at once.

    Attributes:
        signum: of the signal that came; None before.
        is_deferred: whether the run looks at `signum` by itself, at a moment at which it can save. Otherwise a signal
            raises `Interrupted` where it comes.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.is_deferred = False
        self._process = os.getpid()
        self._is_listening = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals within the block, as far as Python lets this thread do so.

        Raises:
            Interrupted: one came, and it was not deferred.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self._is_listening = True
        self.reinstall()
        try:
            yield
        finally:
            self._is_listening = False
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def reinstall(self) -> None:
        """Take the signals back from Lightning, whose handler of SIGTERM ends a run with status 0."""
        if self._is_listening:
            for signum in SIGNALS:
                signal.signal(signum, self._on_signal)

    def use_default_handlers(self) -> None:
        """Let a signal end the process at once, also in a call of C++ that waits for other processes."""
        if self._is_listening:
            for signum in SIGNALS:
                signal.signal(signum, signal.SIG_DFL)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that fetches batches: Ctrl-C reaches it too, but is not its affair
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
        elif self.signum is not None:
            os._exit(128 + signum)
        else:
            self.signum = signum
            if not self.is_deferred:
                raise Interrupted(signum)
