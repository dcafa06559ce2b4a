"""Tests of `python train.py`: its output, the files it writes and its exit status."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LOGGED_AND_TESTED, ROOT, SMALL, Run, RunCommand


def test_output_of_a_run(run_small: RunCommand, tmp_path: Path) -> None:
    done = run_small(*LOGGED_AND_TESTED)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["data", "model", "training", "device", "directory"]
    assert lines[0] == "data      synthetic garments: 500 training and 100 validation images"
    assert lines[1] == "model     MLP 784-32-10, 25,450 parameters"
    scores = r"loss \d\.\d{4} acc \d\.\d{4}"
    assert re.fullmatch(rf"epoch 1/2   train {scores}   val {scores}   lr 1.00e-03   .* s", lines[5])
    assert lines[6].startswith("epoch 2/2")
    assert [line.split()[0] for line in lines[8:11]] == ["training", "validation", "test"]
    assert lines[11].startswith("on synthetic garments, at epoch ")
    assert lines[-1] == "curves      tensorboard --logdir runs"
    checkpoint = lines[-2].split()[1]
    assert (tmp_path / checkpoint).is_file()
    run_dir = (tmp_path / checkpoint).parents[1]
    assert {"metrics.json", "train.log", ".hydra", "checkpoints"} <= {path.name for path in run_dir.iterdir()}
    assert "data=synthetic" in (run_dir / ".hydra" / "overrides.yaml").read_text()


@pytest.mark.slow
def test_simultaneous_runs_print_no_warning_and_write_only_to_their_directories(
    tmp_path: Path, data_root: Path
) -> None:
    """New processes show warnings of imports and of empty caches, which the tests in this process hide."""
    working, home, temporary = (tmp_path / name for name in ("working", "home", "tmp"))
    for directory in (working, home, temporary):
        directory.mkdir()
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        *SMALL,
        *LOGGED_AND_TESTED,
        f"data.root={data_root}",
        "trainer=auto",
    ]
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(temporary)}
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    processes = [
        subprocess.Popen(
            [*command, f"callbacks={callbacks}"],
            cwd=working,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for callbacks in ("lean", "default")
    ]
    for process in processes:
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert len(out.splitlines()) == 14
    assert len(list(working.glob("runs/*/*/metrics.json"))) == 2
    # Matplotlib caches its list of fonts.
    assert [path.name for path in working.iterdir()] == ["runs"]
    # torch 2.14 creates a directory for its compiler when it is imported.
    assert not [path for path in temporary.iterdir() if not path.name.startswith("torchinductor_")]
    assert {path.parent for path in home.rglob("*") if path.is_file()} <= {home / ".cache" / "matplotlib"}


EARLY = "{_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/acc,stopping_threshold:0.01"


def test_early_stopping_is_reported_and_remembered(run_small: RunCommand, tmp_path: Path) -> None:
    done = run_small(f"+callbacks.early={EARLY}}}", "test=true", "hydra.run.dir=a")
    assert (done.returncode, done.stderr) == (0, "")
    reason = r"^stopped early after epoch 1: Stopping threshold reached: val/acc = .*\.$"
    assert re.search(rf"^epoch 1/2 .*\n{reason[1:]}", done.stdout, re.MULTILINE)
    assert len(re.findall(reason, done.stdout, re.MULTILINE)) == 1
    assert "at epoch 1 of 1, in" in done.stdout
    assert "Signaling" not in done.stdout
    assert Run(tmp_path / "a").metrics["stopped_early"].startswith("Stopping threshold")

    # It is not trained longer either, and `resume` says why.
    saved = (tmp_path / "a/checkpoints/last.ckpt").read_bytes()
    for added in ([], ["trainer.max_epochs=30"]):
        done = run_small("resume=a", *added)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"^a: complete, with val/acc \d\.\d{4} after 1 epoch$", done.stdout, re.MULTILINE)
        assert re.search(
            r"^stopped early: Stopping threshold reached: .*ckpt_path=a/checkpoints/last.ckpt", done.stdout, re.M
        )
    assert (tmp_path / "a/checkpoints/last.ckpt").read_bytes() == saved


@pytest.mark.parametrize(
    ("override", "lines"),
    [
        ("trainer.profiler=simple", ["FIT Profiler Report", "TEST Profiler Report"]),
        ("trainer.profiler=advanced", ["FIT Profiler Report", "TEST Profiler Report"]),
        (f"+callbacks.early={EARLY},verbose:true}}", ["Stopping threshold reached: .* Signaling Trainer to stop."]),
        ("+callbacks.best_checkpoint.verbose=true", ["Epoch 0, global step 10: 'val/acc' reached .*"]),
        ("+callbacks.summary._target_=lightning.pytorch.callbacks.ModelSummary", ["25.4 K    Trainable params"]),
        (
            "+callbacks.timer={_target_:lightning.pytorch.callbacks.Timer,duration:{microseconds:1}}",
            ["Time limit reached. .*", "stopped early after epoch 1: The time limit was reached."],
        ),
    ],
    ids=["simple-profiler", "advanced-profiler", "early-stopping", "checkpoint", "summary", "timer"],
)
def test_requested_output_of_lightning_is_printed_once(run_small: RunCommand, override: str, lines: list[str]) -> None:
    done = run_small(override, "test=true")
    assert (done.returncode, done.stderr) == (0, "")
    for line in lines:
        assert len(re.findall(rf"^{line}$", done.stdout, re.M)) == 1, done.stdout
    assert "GPU available" not in done.stdout
    assert "`Trainer.fit` stopped" not in done.stdout


def test_sweep_runs_each_combination(run_small: RunCommand, tmp_path: Path) -> None:
    done = run_small("-m", "optimizer=sgd,adam", "optimizer.lr=1e-2,1e-3", "trainer.max_epochs=1")
    assert (done.returncode, done.stderr) == (0, "")
    jobs = [Run(path.parent) for path in sorted(tmp_path.glob("runs/*/*-sweep/*/metrics.json"))]
    assert [job.dir.name for job in jobs] == ["0", "1", "2", "3"]
    assert len({job.metrics["val/loss"] for job in jobs}) == 4


@pytest.mark.parametrize("interval", ["trainer.check_val_every_n_epoch=2", "trainer.val_check_interval=0.5"])
def test_training_and_validation_metrics_in_a_line_are_of_the_same_epoch(
    run_small: RunCommand, tmp_path: Path, interval: str
) -> None:
    overrides = "trainer.max_epochs=5", "hydra.run.dir=run"
    done = run_small(*overrides, interval)
    assert (done.returncode, done.stderr) == (0, "")
    lines = re.findall(r"^epoch (\d)/5   train loss (\S+) acc (\S+)(?:   val loss (\S+))?", done.stdout, re.MULTILINE)
    validated = ["2", "4"] if "every_n_epoch" in interval else ["1", "2", "3", "4", "5"]
    assert [epoch for epoch, *_, validation in lines if validation] == validated
    run = Run(tmp_path / "run")
    metrics = run.metrics
    if "every_n_epoch" in interval:  # otherwise the best checkpoint may be of the middle of an epoch
        names = "train/loss", "train/acc", "val/loss"
        assert lines[metrics["epoch"] - 1][1:] == tuple(f"{metrics[name]:.4f}" for name in names)
    history = run.checkpoint("last")["callbacks"]["run_progress"]["history"]
    losses = [metrics.get("val/loss") for metrics in history.values()]
    assert [f"{loss:.4f}" if loss else "" for loss in losses] == [line[3] for line in lines]
    assert [f"{metrics['train/acc']:.4f}" for metrics in history.values()] == [line[2] for line in lines]


def test_diverging_run_ends_with_one_line(run_small: RunCommand) -> None:
    done = run_small("optimizer=sgd", "optimizer.lr=1e30")
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: the loss is (nan|inf) in epoch 1, step \d+ \(learning rate: 1e\+30\)\. .*\n", done.stderr
    )


def stub(tmp_path: Path, module: str, code: str) -> str:
    """Return a PYTHONPATH on which importing `module` runs `code`."""
    directory = tmp_path / "stubs"
    directory.mkdir()
    (directory / f"{module}.py").write_text(code)
    return os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")])


@pytest.mark.parametrize("module", ["hydra", "torch"])
@pytest.mark.parametrize("program", ["train.py", "fashion-mlp"])
def test_ctrl_c_during_an_import_prints_and_writes_nothing(tmp_path: Path, program: str, module: str) -> None:
    interrupt = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    environment = os.environ | {"PYTHONPATH": stub(tmp_path, module, interrupt)}
    programs = {
        "train.py": [str(ROOT / "train.py"), *SMALL],
        "fashion-mlp": ["-c", "from fashion_mlp.cli.main import main; main(['evaluate', 'best.ckpt'])"],
    }
    command = [sys.executable, *programs[program]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["stubs"]


def test_out_of_memory_while_importing_torch_is_reported_in_one_line(
    run_in_new_process: RunCommand, tmp_path: Path
) -> None:
    out_of_memory = "raise ImportError('libtorch_cpu.so: failed to map segment from shared object')\n"
    done = run_in_new_process(*SMALL, PYTHONPATH=stub(tmp_path, "torch", out_of_memory))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: out of memory on the CPU: torch cannot be loaded; free memory, or raise its limit (ulimit -v)\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["stubs"]


def test_one_file_adds_an_optimizer_of_torch(run_small: RunCommand) -> None:
    directory = Path("mine/optimizer")
    directory.mkdir(parents=True)
    (directory / "nadam.yaml").write_text("_target_: torch.optim.NAdam\nlr: 2e-3\n")
    arguments = "--config-dir", "mine", "optimizer=nadam", "trainer.max_epochs=1"
    done = run_small(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "NAdam at 0.002" in done.stdout
    for override, message in (
        ("optimizer.lr=-1", "optimizer: ValueError: Invalid learning rate: -1"),
        ("+optimizer.momentum=0.9", "optimizer: TypeError: NAdam.__init__() got an unexpected keyword argument"),
        ("optimizer.lrr=1", "optimizer.lrr=1: no such key; did you mean optimizer.lr?"),
    ):
        done = run_small(*arguments, override)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {message}")
        assert len(done.stderr.splitlines()) == 1
