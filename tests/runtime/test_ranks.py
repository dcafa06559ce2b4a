"""Distributed runs, started by Lightning, torchrun or SLURM, give the results of a single process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from fashion_mlp.config.command_line import normalize, without_outputs
from fashion_mlp.runtime import ranks
from fashion_mlp.runtime.errors import UserError, exit_on_user_error
from fashion_mlp.runtime.signals import GracefulStop
from fashion_mlp.training import train
from tests.conftest import ROOT, SMALL, Compose, Run, check
from tests.forked import ForkedProcess

TRAIN = str(ROOT / "train.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
# Two processes evaluate 50 and 51 images, or 100 and 101, in 5 and 6 or 10 and 11 batches.
SIZES = ("data.train_size=601", "data.val_size=101", "data.test_size=201", "data.eval_batch_size=10")
AFTER_EPOCHS = (
    "+callbacks.after_epochs={_target_: fashion_mlp.callbacks.epoch_evaluation.EpochEvaluation, splits: [val, test]}"
)
RANKS = {"LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID", "SLURM_JOB_NAME", "SLURM_NTASKS", "SLURM_STEP_ID"}
RANKS |= {"SLURM_STEPID", "TORCHELASTIC_RUN_ID"}


def start(
    directory: Path,
    data_root: Path,
    *overrides: str,
    num_forks: int = 0,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> ForkedProcess:
    """Start `train.py` with `trainer=ddp` and additional environment variables; Lightning starts the other ranks."""
    environment = {name: value for name, value in os.environ.items() if name not in RANKS} | dict(variables)
    arguments = [*SMALL, *SIZES, f"data.root={data_root}", "trainer=ddp", *overrides]
    return ForkedProcess(arguments, directory, environment=environment, num_forks=num_forks)


def start_torchrun(
    directory: Path, data_root: Path, flags: tuple[str, ...], *overrides: str
) -> "subprocess.Popen[str]":
    # The torchrun process that ends last prints, in C++ or in Python, that the other has ended.
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR", "LOGLEVEL": "CRITICAL"}
    environment = {name: value for name, value in os.environ.items() if name not in RANKS} | quiet
    arguments = [*TORCHRUN, *flags, TRAIN, *SMALL, *SIZES, f"data.root={data_root}", "trainer=ddp", *overrides]
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, cwd=directory, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: "subprocess.Popen[str] | ForkedProcess") -> "subprocess.CompletedProcess[str]":
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.wait(), out, err)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def start_two(program: str, directory: Path, data_root: Path) -> "list[ForkedProcess] | list[subprocess.Popen[str]]":
    """Start a run of two processes with half a batch each by a program that starts ranks.

    The second rank of Lightning's and those of torchrun are new processes; the others are forked.
    """
    here = ("trainer.accelerator=cpu", "data.batch_size=25", "test=true", AFTER_EPOCHS)
    if program == "lightning":
        return [start(directory, data_root, *here, "logger=tensorboard", "callbacks=default")]
    if program == "torchrun":
        nodes = (*here, "trainer.devices=1", "trainer.num_nodes=2")
        machines = ("--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}")
        return [start_torchrun(directory, data_root, (*machines, f"--node-rank={rank}"), *nodes) for rank in (0, 1)]
    if program == "allocation":  # without srun
        allocation = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4"}
        return [start(directory, data_root, *here, num_forks=1, variables=allocation)]
    slurm = {  # the variables that Lightning reads; SLURM is not needed
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_ID": "0",
    }
    ids = [{"SLURM_LOCALID": rank, "SLURM_PROCID": rank} for rank in "01"]
    return [start(directory, data_root, *here, variables=slurm | rank) for rank in ids]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["lightning", "torchrun", "srun", "allocation"])
def test_two_processes_give_the_result_of_one(
    tmp_path: Path, data_root: Path, compose_small: Compose, program: str
) -> None:
    """Only rank zero prints, and only it writes."""
    directory = tmp_path / program
    directory.mkdir()
    first, *others = [finish(process) for process in start_two(program, directory, data_root)]
    for done in (first, *others):
        assert (done.returncode, done.stderr) == (0, "")
    assert len(first.stdout.splitlines()) == (14 if program == "lightning" else 13)  # one more for TensorBoard
    assert "2 x batches of 25" in first.stdout
    assert [done.stdout for done in others] == [""] * len(others)
    assert [path.name for path in directory.iterdir()] == ["runs"]
    (run_dir,) = directory.glob("runs/*/*")
    names = {path.name for path in run_dir.iterdir() if not path.name.startswith("events.out")}
    figures = {"confusion_matrix.png", "curves.png", "mistakes.png", "predictions.png"}
    charts = {"hparams.yaml"} | figures if program == "lightning" else set()
    assert names == {".hydra", ".lock", "checkpoints", "metrics.json", "train.log"} | charts

    cfg = compose_small("one", *SIZES, "test=true", AFTER_EPOCHS)
    train(cfg)
    runs = Run(cfg.run_dir), Run(run_dir)
    one, two = (run.checkpoint("last") for run in runs)
    assert (two["epoch"], two["global_step"]) == (one["epoch"], one["global_step"]) == (1, 20)
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], weight, rtol=0, atol=1e-6)
    expected, metrics = (run.metrics for run in runs)
    assert metrics.keys() == expected.keys()
    assert metrics["test_after_epoch/acc"] == expected["test/acc"]
    for name in metrics:
        if name.startswith(("train/", "val", "test")):
            assert metrics[name] == pytest.approx(expected[name], abs=2e-6), name
    assert metrics["device"] == "2 x cpu (1 threads)"
    assert metrics["samples_per_second"] == pytest.approx(1000 / metrics["seconds"], rel=1e-3)


@pytest.mark.slow
def test_a_mistake_ends_all_processes_and_is_reported_once(tmp_path: Path, data_root: Path) -> None:
    done = finish(start_torchrun(tmp_path, data_root, ("--nproc-per-node=2",), "trainer=cpu", "optimizer.lrr=3"))
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(":")[1] for line in lines] == [" optimizer.lrr=3", " trainer.devices=1 trainer.num_nodes=1"]
    assert lines[1].endswith("Type trainer=ddp trainer.devices=2 trainer.num_nodes=1")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return a monkeypatch whose environment names no launcher."""
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, True),
        ({"SLURM_PROCID": "2", "SLURM_LOCALID": "0"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),
    ],
    ids=str,
)
def test_one_process_of_all_machines_is_rank_zero(
    environment: pytest.MonkeyPatch, variables: dict[str, str], first: bool
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert ranks.is_rank_zero() == first


def error(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        check(argv)
    return str(caught.value)


def test_the_launcher_must_start_the_configured_processes(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SLURM_NTASKS", "8")
    environment.setenv("SLURM_NNODES", "2")
    environment.setenv("SLURM_JOB_NAME", "train")
    check([])  # in an allocation without srun
    environment.setenv("SLURM_STEP_ID", "0")
    assert "srun has started 4 x 2 processes. Type trainer=ddp trainer.devices=4 trainer.num_nodes=2" in error()
    check(["trainer=ddp", "trainer.devices=4", "trainer.num_nodes=2"])
    check(["trainer=ddp", "trainer.devices=[0,1,2,3]", "trainer.num_nodes=2"])
    environment.setenv("SLURM_JOB_NAME", "interactive")
    check([])
    assert "trainer.num_nodes=2: started on one only. Use torchrun or srun" in error("trainer.num_nodes=2")
    environment.setenv("NODE_RANK", "0")
    check(["trainer.num_nodes=2"])


def test_hydra_can_read_the_command_line_of_other_ranks() -> None:
    added = ["hydra.run.dir=runs/x", "hydra.output_subdir=null"]  # by Lightning
    ours = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]
    assert without_outputs(normalize(["seed=1", "--config-dir", "mine", *added])) == [
        "--config-dir", "mine", "seed=1", *added, *ours,
    ]  # fmt: skip


@pytest.mark.parametrize("wanted", [True, False])
def test_another_rank_reports_an_error_only_if_the_run_continues(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wanted: bool
) -> None:
    environment.setenv("LOCAL_RANK", "1")
    environment.setattr(ranks, "GRACE", 0.01)
    if not wanted:
        environment.setattr(ranks, "PARENT", -1)
    with pytest.raises(SystemExit) as caught, exit_on_user_error():
        raise UserError("optimizer.lr=0")
    assert caught.value.code == ("error: optimizer.lr=0" if wanted else 1)
    with pytest.raises(SystemExit), exit_on_user_error():
        raise ConnectionError("closed by the first process")
    assert ("closed by the first process" in capsys.readouterr().err) == wanted


def wait_for(condition: Callable[[], object], process: ForkedProcess) -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_ends_with_its_launcher(rank: str) -> None:
    """Both processes hold the pipe, so it is closed when both have ended."""
    second = "from fashion_mlp.runtime.ranks import end_with_parent as e; e(); print('ready', flush=True); input()"
    first = (
        "import os, subprocess, sys\n"
        "from fashion_mlp.runtime.ranks import end_with_parent\n"
        "end_with_parent()\n"
        "subprocess.run([sys.executable, '-c', sys.argv[1]], env={**os.environ, 'LOCAL_RANK': sys.argv[2]})\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in RANKS}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", first, second, rank], env=environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.communicate(timeout=60)[0] == ""


@pytest.mark.slow
def test_no_process_waits_for_a_killed_rank_zero(tmp_path: Path, data_root: Path) -> None:
    process = start(tmp_path, data_root, "trainer.accelerator=cpu")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not list the children of a process")
    wait_for(children.read_text, process)
    process.kill()
    assert finish(process).stderr == ""  # read until all processes that hold the pipe have ended


@pytest.mark.slow
def test_sigterm_ends_a_run_that_waits_for_another_machine(tmp_path: Path, data_root: Path) -> None:
    there = {"NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    overrides = ("trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2")
    process = start(tmp_path, data_root, *overrides, variables=there)
    with socket.socket() as probe:
        wait_for(lambda: probe.connect_ex(("127.0.0.1", int(there["MASTER_PORT"]))) == 0, process)
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


def test_default_handlers_can_be_used_while_processes_connect() -> None:
    stop = GracefulStop()
    before = signal.getsignal(signal.SIGTERM)
    with stop.install():
        stop.use_default_handlers()
        assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        stop.reinstall()
        assert signal.getsignal(signal.SIGTERM) == stop._on_signal
    assert signal.getsignal(signal.SIGTERM) == before
