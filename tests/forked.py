"""`python train.py` in a process that is forked from one that has imported torch, which saves most of the start-up.

This module imports little, since the forked processes import it too.
"""

import atexit
import fcntl
import multiprocessing
import os
import runpy
import subprocess
import sys
import termios
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, TimeoutError as ReadTimeoutError
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

TRAIN = str(Path(__file__).parents[1] / "train.py")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["fashion_mlp.training", "fashion_mlp.callbacks.learning_curves"])


class ForkedProcess:
    """A process that runs `python train.py`, with text streams and the interface of `subprocess.Popen`.

    Args:
        arguments: the command line after `train.py`.
        cwd: the working directory.
        environment: the environment variables; those of this process by default.
        terminal: the file descriptor of a terminal, which controls the process, instead of pipes.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        *,
        environment: dict[str, str] | None = None,
        terminal: int | None = None,
    ) -> None:
        with ExitStack() as open_here:
            if terminal is None:
                (stdout, out), (stderr, err) = os.pipe(), os.pipe()
                self.stdout, self.stderr = os.fdopen(stdout), os.fdopen(stderr)
                streams = [open_here.enter_context(Connection(end, readable=False)) for end in (out, err)]
            else:
                streams = [open_here.enter_context(Connection(terminal))]
            variables = dict(os.environ) if environment is None else environment
            self._process = SERVER.Process(target=_run_train, args=(arguments, str(cwd), variables, streams))
            self._process.start()
        self.args = [TRAIN, *arguments]
        self.pid = self._process.pid or 0
        self.kill = self._process.kill

    def __enter__(self) -> "ForkedProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negative number of a signal; None before the end."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int:
        self._process.join()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Return the output of both streams, which ends when all processes that hold them have ended."""
        with ThreadPoolExecutor() as executor:
            streams = [executor.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                output, error = (stream.result(timeout) for stream in streams)
            except ReadTimeoutError:
                self.kill()
                raise
        self.__exit__()
        return output, error


def run_forked(arguments: Sequence[str], cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run `python train.py` in a forked process, with additional environment variables, and return its result."""
    with ForkedProcess(arguments, cwd, environment={**os.environ, **variables}) as process:
        output, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.wait(), output, error)


def _run_train(arguments: Sequence[str], cwd: str, environment: dict[str, str], streams: Sequence[Connection]) -> None:
    # This process is not a worker, and starts workers as a new process does.
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    multiprocessing.set_start_method(None, force=True)
    if len(streams) == 1:
        os.setsid()
        fcntl.ioctl(streams[0].fileno(), termios.TIOCSCTTY, 0)  # Ctrl-C signals this process and its children
        os.dup2(streams[0].fileno(), 0)
    for number in (1, 2):
        os.dup2(streams[min(number, len(streams)) - 1].fileno(), number)
    for stream in streams:
        stream.close()
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [TRAIN, *arguments]
    try:
        runpy.run_path(TRAIN, run_name="__main__")
    finally:
        sys.stdout.flush()
        atexit._run_exitfuncs()  # multiprocessing does not call these functions
