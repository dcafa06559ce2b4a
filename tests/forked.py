"""`python train.py` in a process that is forked from one that has imported torch, which saves most of the start-up."""

import atexit
import fcntl
import multiprocessing
import os
import runpy
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, TimeoutError as ReadTimeoutError
from contextlib import ExitStack
from multiprocessing.connection import Connection, Pipe
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

TRAIN = str(Path(__file__).parents[1] / "train.py")
FORK = multiprocessing.get_context("fork")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.preloaded", "optuna"])  # the extra [sweep] may be missing


class RunningProcess:
    """A process of `multiprocessing`, with text streams and the interface of `subprocess.Popen`."""

    def __init__(self, process: BaseProcess, args: Sequence[str], **streams: TextIO) -> None:
        self._process = process
        self._streams = streams
        self.args = args
        self.pid = process.pid or 0
        self.kill = process.kill

    @property
    def stdout(self) -> TextIO:
        return self._streams["stdout"]

    @property
    def stderr(self) -> TextIO:
        return self._streams["stderr"]

    def __enter__(self) -> "RunningProcess":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams.values():
            stream.close()
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


class ForkedProcess(RunningProcess):
    """A process that runs `python train.py`.

    Args:
        arguments: the command line after `train.py`.
        cwd: the working directory.
        program: another program instead of `train.py`.
        environment: the environment variables; those of this process by default.
        terminal: the file descriptor of a terminal, which controls the process, instead of pipes.
        num_forks: how many of the processes that this one starts, for jobs or ranks, are forked as well; the others
            are new processes, as they are for users.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        *,
        program: str = TRAIN,
        environment: dict[str, str] | None = None,
        terminal: int | None = None,
        num_forks: int = 0,
    ) -> None:
        with ExitStack() as open_here:
            if terminal is None:
                (stdout, out), (stderr, err) = os.pipe(), os.pipe()
                read = {"stdout": os.fdopen(stdout), "stderr": os.fdopen(stderr)}
                streams = [open_here.enter_context(Connection(end, readable=False)) for end in (out, err)]
            else:
                read = {}
                streams = [open_here.enter_context(Connection(terminal))]
            variables = dict(os.environ) if environment is None else environment
            command = [program, *arguments]
            process = SERVER.Process(target=_run, args=(command, str(cwd), variables, streams, num_forks))
            process.start()
        super().__init__(process, command, **read)


def run_forked(
    arguments: Sequence[str], cwd: Path, *, program: str = TRAIN, num_forks: int = 0, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a `ForkedProcess` with additional environment variables, and return its result."""
    environment = {**os.environ, **variables}
    with ForkedProcess(arguments, cwd, program=program, environment=environment, num_forks=num_forks) as process:
        output, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.wait(), output, error)


def _run(
    command: Sequence[str], cwd: str, environment: Mapping[str, str], streams: Sequence[Connection], num_forks: int
) -> None:
    from fashion_mlp.runtime import ranks

    # This process is not a worker, and starts workers as a new process does.
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    multiprocessing.set_start_method(None, force=True)
    ranks.PARENT = os.getppid()
    children = ForkedChildren(num_forks, streams)
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
    sys.argv = list(command)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        sys.stdout.flush()
        children.end_waiting()
        atexit._run_exitfuncs()  # multiprocessing does not call these functions


class ForkedChildren:
    """Processes that are forked before `train.py` runs, and wait until it starts a job or another rank.

    Args:
        number: how many.
        streams: streams of this process that they close.
    """

    def __init__(self, number: int, streams: Sequence[Connection]) -> None:
        from lightning.pytorch.strategies.launchers import subprocess_script

        from fashion_mlp.sweep import job

        self._waiting: list[tuple[BaseProcess, Connection]] = []
        for _ in range(number):
            here, there = Pipe()
            process = FORK.Process(target=_wait_for_command, args=(there, [here, *streams], number))
            process.start()
            there.close()
            self._waiting.append((process, here))
        for module in (job, subprocess_script):
            vars(module)["subprocess"] = SimpleNamespace(Popen=self.start, PIPE=subprocess.PIPE)

    def start(self, command: Sequence[str], **options: Any) -> "RunningProcess | subprocess.Popen[str]":
        """Start `python train.py` like `subprocess.Popen`, in a forked process if there is one left."""
        if not self._waiting:
            return subprocess.Popen(command, **options)
        assert command[0] == sys.executable
        process, pipe = self._waiting.pop(0)
        streams, write = {}, 2
        if options.get("stderr"):
            read, write = os.pipe()
            streams["stderr"] = os.fdopen(read)
        with pipe:
            pipe.send((command[1:], options["cwd"], options["env"]))
            for number in (1, write):
                send_handle(pipe, number, process.pid)
        if write != 2:
            os.close(write)
        return RunningProcess(process, command, **streams)

    def end_waiting(self) -> None:
        """End the processes that were not needed."""
        for _, pipe in self._waiting:
            pipe.close()


def _wait_for_command(pipe: Connection, unused: Sequence[Connection], number: int) -> None:
    for connection in unused:
        connection.close()
    try:
        command, cwd, environment = pipe.recv()
    except EOFError:
        return
    streams = [Connection(recv_handle(pipe), readable=False) for _ in range(2)]
    pipe.close()
    _run(command, cwd, environment, streams, number)
