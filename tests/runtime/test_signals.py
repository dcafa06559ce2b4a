"""Ctrl-C on a terminal and a closed stdout: one line with the command to resume, no traceback."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from fashion_mlp.runtime.signals import GracefulStop
from tests.conftest import ROOT, SMALL
from tests.forked import ForkedProcess

LONG = "trainer.max_epochs=1000"


def run_in_terminal(arguments: list[str], cwd: Path, *, interrupt_at: str = "") -> tuple[int, str]:
    """Run `python train.py` in a pseudo-terminal, type Ctrl-C once a pattern is shown, and return status and output."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    process = ForkedProcess(arguments, cwd, terminal=terminal)  # which closes the file descriptor here
    output = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # on Linux, the other end is closed
            break
        output += part
        if interrupt_at and re.search(interrupt_at.encode(), output):
            os.write(controller, b"\x03")
            interrupt_at = ""
    os.close(controller)
    return process.wait(), output.decode()


@pytest.mark.slow
def test_output_on_a_terminal_has_a_progress_bar(tmp_path: Path, data_root: Path) -> None:
    drawn = "callbacks.progress_bar.refresh_rate=1000000", "steps_per_execution=2", "trainer.log_every_n_steps=2"
    status, text = run_in_terminal([*SMALL, f"data.root={data_root}", *drawn], tmp_path)
    assert status == 0
    assert re.search(r"epoch 2/2: +100%.*loss=.*val/acc=", text)
    assert set(re.findall(r"epoch 1/2: +(\d+)%", text)) == {"0", "20", "40", "60", "80", "100"}
    assert "v_num" not in text
    assert re.search(r"epoch 2/2   train loss", text)
    assert "Warning" not in text


RUN = r"interrupted after step \d+; resume with: python train.py resume=a"
SWEEP = "the sweep was interrupted; resume with: python train.py resume_sweep=s"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "moment", "message"),
    [
        (["hydra.run.dir=a"], "epoch 1/1000   train", RUN),
        (["hydra.run.dir=a", "data.num_workers=2"], "epoch 1/1000   train", RUN),
        (["-m", "seed=1,2", "hydra.sweep.dir=s"], "epoch 1/1000   train", rf"interrupted after step \d+\r\n{SWEEP}"),
        (["-m", "seed=1,2", "hydra.sweep.dir=s"], "sweep     s\r\n", SWEEP),  # while Hydra composes the first job
        (["sweep=optuna", "hydra.sweep.dir=s"], "epoch 2/1000: ", rf"interrupted after step \d+\r\n{SWEEP}"),
    ],
    ids=["run", "workers", "sweep", "sweep that starts", "search"],
)
def test_ctrl_c_prints_the_command_to_resume_on_one_line(
    tmp_path: Path, data_root: Path, arguments: list[str], moment: str, message: str
) -> None:
    if "sweep=optuna" in arguments:
        pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    flags = [argument for argument in arguments if "=" not in argument]
    command = [*flags, *SMALL, f"data.root={data_root}", LONG, *arguments[len(flags) :]]
    status, text = run_in_terminal(command, tmp_path, interrupt_at=moment)
    assert status in (130, -signal.SIGINT)
    found = re.search(rf"[\r\n]{message}\r\n", text)
    assert found, text[-2000:]
    assert not text[found.end() :].strip(), "the bar is drawn again"
    assert "Traceback" not in text
    assert text[text.index("^C") :].count("python train.py") == 1


def test_a_signal_that_is_forwarded_at_once_is_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr("os._exit", statuses.append)
    stop = GracefulStop()
    stop.is_deferred = True
    with stop.install():
        for signum in (signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), signum)
        assert (stop.signum, statuses) == (signal.SIGUSR1, [])
        monkeypatch.setattr("fashion_mlp.runtime.signals.SAME_REQUEST", 0.0)
        os.kill(os.getpid(), signal.SIGINT)
        assert statuses == [130]


def test_the_sigint_handler_calls_exit_hooks_and_raises_nothing() -> None:
    code = (
        "import os, signal\n"
        "from fashion_mlp.runtime.signals import EXIT_HOOKS, exit_on_signal\n"
        "for text in ('first', 'last'):\n"
        "    EXIT_HOOKS.callback(print, text, flush=True)\n"
        "signal.signal(signal.SIGINT, exit_on_signal)\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "finally:\n"
        "    print('raised')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "last\nfirst\n", "")


@pytest.mark.parametrize("program", ["train.py", "fashion-mlp"])
def test_help_that_nobody_reads_is_discarded(program: str) -> None:
    """Without PYTHONUNBUFFERED, the help is written when the program ends."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    programs = {"train.py": ROOT / "train.py", "fashion-mlp": Path(sys.executable).with_name("fashion-mlp")}
    command = [sys.executable, str(programs[program]), "--help"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "read_until", "message"),
    [
        (
            ["hydra.run.dir=a"],
            "epoch 2/",
            "the reader of the output has ended; resume with: python train.py resume=a\n",
        ),
        (["hydra.run.dir=a"], "", "the reader of the output has ended\n"),
        (["-m", "seed=1,2", "hydra.sweep.dir=s"], "epoch 1/", f"the reader of the output has ended\n{SWEEP}\n"),
    ],
    ids=["run", "run that starts", "sweep"],
)
def test_a_closed_stdout_ends_the_process(
    tmp_path: Path, data_root: Path, arguments: list[str], read_until: str, message: str
) -> None:
    flags = [argument for argument in arguments if "=" not in argument]
    command = [*flags, *SMALL, f"data.root={data_root}", LONG, *arguments[len(flags) :]]
    with ForkedProcess(command, tmp_path) as process:
        while read_until and read_until not in process.stdout.readline():
            pass
        process.stdout.close()
        assert process.stderr.read() == message
    assert process.returncode == 141
    if not read_until:
        assert list(tmp_path.iterdir()) == []
