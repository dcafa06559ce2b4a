"""Jobs in processes of their own: several devices, failures that do not end the sweep, and signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from hydra.conf import HydraConf
from omegaconf import OmegaConf

from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.signals import Interrupted
from fashion_mlp.sweep import job
from fashion_mlp.sweep.job import needs_new_process, run_in_new_process
from tests.conftest import ROOT, SMALL, Run, RunCommand
from tests.forked import ForkedProcess, run_forked
from tests.sweep.test_sweeps import QUICK, leaderboard

# Ends some time after its first checkpoint.
INTERRUPTIBLE = ("trainer.max_epochs=15", "checkpoint.every_n_steps=10")


def hydra_cfg(launcher: str = "basic", command: str | None = None) -> HydraConf:
    """Return Hydra's part of the configuration of job 3."""
    content = {
        "runtime": {"choices": {"hydra/launcher": launcher}, "cwd": str(Path.cwd())},
        "launcher": {"command": command} if command else {},
        "sweep": {"dir": "a sweep"},
        "job": {"num": 3},
    }
    return cast("HydraConf", OmegaConf.create(content))


@pytest.mark.parametrize(
    ("launcher", "trainer", "expected"),
    [
        ("basic", {"devices": 1}, False),
        ("joblib", {"devices": 1}, False),
        ("process", {"devices": 1}, True),
        ("basic", {"devices": 2}, True),
        ("joblib", {"devices": [0, 1]}, True),
        ("basic", {"devices": "auto"}, False),  # one process on a CPU
        ("basic", {"devices": 1, "num_nodes": 2}, True),
    ],
    ids=str,
)
def test_several_devices_need_new_processes(launcher: str, trainer: dict[str, Any], expected: bool) -> None:
    cfg = OmegaConf.create({"trainer": {"accelerator": "cpu", "num_nodes": 1, **trainer}})
    assert needs_new_process(cfg, hydra_cfg(launcher)) == expected


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a script that is run instead of `train.py`."""
    monkeypatch.setattr(job, "CONF", tmp_path / "conf")
    return tmp_path / "train.py"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit('error: seed: none\\nerror: data: gone')", "seed: none\nerror: data: gone"),
        ("raise RuntimeError('no kernel')", "RuntimeError: no kernel"),
        ("print('a warning', file=sys.stderr); os.kill(os.getpid(), 9)", "its process was ended by SIGKILL"),
        ("sys.exit(3)", "its process ended without a message"),
        ("print('interrupted after step 2', file=sys.stderr); sys.exit(143)", "interrupted after step 2"),
    ],
)
def test_the_error_of_a_job_is_raised(program: Path, tmp_path: Path, code: str, message: str) -> None:
    program.write_text(f"import os, sys\n{code}\n")
    with pytest.raises(UserError) as caught:
        run_in_new_process(tmp_path, hydra_cfg())
    assert str(caught.value) == message


def test_other_lines_are_passed_on(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.write_text("import sys\nprint('a warning', file=sys.stderr)\nprint('error: seed', file=sys.stderr)\n")
    run_in_new_process(tmp_path, hydra_cfg())
    assert capsys.readouterr().err == "a warning\n"


def test_the_command_can_be_chosen(program: Path, tmp_path: Path) -> None:
    program.write_text(f"import sys; open('{tmp_path}/arguments', 'w').write(repr(sys.orig_argv[1:]))\n")
    run_in_new_process(tmp_path, hydra_cfg("process", f"'{sys.executable}' -X utf8"))
    arguments = [str(program), f'resume="{tmp_path}"', 'hydra.sweep.dir="a sweep"', "hydra.job.num=3"]
    assert (tmp_path / "arguments").read_text() == repr(["-X", "utf8", *arguments])


def test_a_signal_is_forwarded_and_the_job_awaited(program: Path, tmp_path: Path) -> None:
    program.write_text(
        "import signal, sys, time\n"
        "def save(*_):\n"
        "    open('saved', 'w').close()\n"
        "    sys.exit('interrupted after step 8; resume with: python train.py resume=3')\n"
        "signal.signal(signal.SIGUSR1, save)\n"
        "open('ready', 'w').close()\n"
        "time.sleep(60)\n"
    )
    cfg = hydra_cfg()
    cfg.runtime.cwd = str(tmp_path)

    def interrupt() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Interrupted) as caught:
        run_in_new_process(tmp_path, cfg)
    assert (caught.value.code, caught.value.message) == (128 + signal.SIGUSR1, "interrupted after step 8")
    assert (tmp_path / "saved").exists()


def interrupt_sweep(
    cwd: Path, sweep: Path, arguments: list[str], signum: int, num_forks: int
) -> "subprocess.CompletedProcess[str]":
    """Start a sweep, and send it a signal when its first job has saved its state."""
    with ForkedProcess([*arguments, f"hydra.sweep.dir={sweep}"], cwd, num_forks=num_forks) as sweeping:
        while not (sweep / "0/checkpoints/last.ckpt").exists():
            assert sweeping.poll() is None
            time.sleep(0.05)
        sweeping.send_signal(signum)
        out, err = sweeping.communicate(timeout=120)
    return subprocess.CompletedProcess(sweeping.args, sweeping.wait(), out, err)


@pytest.mark.slow
def test_jobs_with_two_devices_are_interrupted_and_resumed(data_root: Path, tmp_path: Path) -> None:
    sweep, devices = tmp_path / "s", ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    arguments = ["-m", *SMALL, f"data.root={data_root}", *devices, *INTERRUPTIBLE, "optimizer=sgd,adam"]
    done = interrupt_sweep(tmp_path, sweep, arguments, signal.SIGTERM, num_forks=1)
    assert done.returncode == 143
    interrupted, hint = done.stderr.splitlines()
    assert interrupted.startswith("interrupted after step ")
    assert hint == f"the sweep was interrupted; resume with: python train.py resume_sweep={sweep}"
    step = Run(sweep / "0").checkpoint("last")["global_step"]

    done = run_forked([f"resume_sweep={sweep}"], tmp_path, num_forks=2)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"after step {step}\n" in done.stdout
    assert {row["job"]: row["status"] for row in leaderboard(sweep)} == {"0": "done", "1": "done"}
    assert {Run(sweep / name).metrics["device"] for name in "01"} == {"2 x cpu (1 threads)"}


@pytest.mark.slow
def test_a_killed_job_does_not_end_the_sweep(run_in_process: RunCommand, data_root: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    killer = f"+callbacks.killer={{_target_:tests.sweep.optuna.killer.Killer,number:0,marker:{tmp_path}/killed}}"
    small = [*SMALL, f"data.root={data_root}", QUICK, "checkpoint.every_n_steps=4", "steps_per_execution=2", killer]
    path = f"{ROOT / 'src'}:{ROOT}"
    launcher = ("hydra/launcher=process", f"hydra.sweep.dir={sweep}")
    done = run_forked(["-m", *small, "seed=0,1", *launcher], tmp_path, num_forks=2, PYTHONPATH=path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "error: 1 of 2 jobs failed" in done.stderr
    rows = {row["job"]: row for row in leaderboard(sweep)}
    assert (rows["0"]["error"], rows["1"]["status"]) == ("its process was ended by SIGKILL", "done")
    done = run_in_process(f"resume_sweep={sweep}", "hydra/launcher=basic")
    assert (done.returncode, done.stderr) == (0, "")
    assert "from      s/0/checkpoints/last.ckpt, with optimizer and schedule, after step 8" in done.stdout


@pytest.mark.slow
def test_an_interrupted_trial_of_a_search_is_resumed(data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    sweep, space = tmp_path / "s", "optimizer.lr=interval(1e-3,1e-2)"
    search = ["sweep=optuna", "hydra.sweeper.n_trials=2", space, "hydra/launcher=process"]
    arguments = [*SMALL, f"data.root={data_root}", *INTERRUPTIBLE, *search]
    done = interrupt_sweep(tmp_path, sweep, arguments, signal.SIGUSR1, num_forks=0)
    assert done.returncode == 138, done.stderr
    step = Run(sweep / "0").checkpoint("last")["global_step"]
    assert done.stderr.startswith(f"interrupted after step {step}\nthe sweep was interrupted; resume with: ")
    assert f"python train.py resume_sweep={sweep}" in done.stderr

    done = run_forked([f"resume_sweep={sweep}"], tmp_path, num_forks=2)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"last.ckpt, with optimizer and schedule, after step {step}\n" in (sweep / "0/train.log").read_text()
    assert "trials    2 complete, 0 pruned, 0 failed" in done.stdout
