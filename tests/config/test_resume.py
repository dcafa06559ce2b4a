"""Interrupted runs are resumed to the same bits, also within an epoch, and only with the same configuration."""

import csv
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import CombinedLoader
from omegaconf import DictConfig

from fashion_mlp.classifier import Classifier
from fashion_mlp.config.records import read_result
from fashion_mlp.config.resume import expand_resume
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.signals import Interrupted
from fashion_mlp.training import train
from tests.conftest import LOGGED_AND_TESTED, ROOT, Compose, Run, RunCommand
from tests.forked import run_forked
from tests.kill_and_resume import differences, outcome

Ask = Callable[..., None]
OFF_FRACTION = ("data.augment.hflip=0.5", "data.augment.off_fraction=0.4")
ACCUMULATION = "lightning.pytorch.callbacks.GradientAccumulationScheduler"


@pytest.fixture
def sigterm_at(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Return a function that sends this process a SIGTERM, or another signal, in a given optimizer step."""

    def ask(step: int, signum: int = signal.SIGTERM) -> None:
        learn = Classifier.compute_training_loss

        def interrupted(self: Classifier, batch: Any, number: int) -> Any:
            if number == step:
                os.kill(os.getpid(), signum)
                monkeypatch.setattr(Classifier, "compute_training_loss", learn)
            return learn(self, batch, number)

        monkeypatch.setattr(Classifier, "compute_training_loss", interrupted)

    return ask


USUAL = ("trainer.max_epochs=3", "steps_per_execution=2", "trainer.log_every_n_steps=3", *LOGGED_AND_TESTED)


def interrupt_and_resume(cfg: DictConfig, sigterm_at: Ask, step: int) -> None:
    """Run a configuration until an optimizer step, check that it names the command that resumes it, and resume it."""
    sigterm_at(step)
    with pytest.raises(Interrupted) as caught:
        train(cfg)
    assert caught.value.code == 143
    assert caught.value.message.endswith(f"resume with: python train.py resume={cfg.run_dir}")
    train(cfg, resumed=True)


@pytest.mark.parametrize(
    ("step", "overrides"),
    [
        (5, []),  # a call of training_step holds two steps
        (10, ["data.num_workers=2"]),  # the last step of an epoch
        (11, ["model.dropout=0.3", "model.norm=batch", "scheduler=onecycle", "data.augment.hflip=0.5"]),
        (
            17,
            ["data.augment.translate=2", "data.augment.mixup=0.3", "data.augment.off_fraction=0.4", "scheduler=cosine"],
        ),
        (14, ["optimizer=rmsprop", "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.05"]),
        (3, ["optimizer=sgd", "optimizer.momentum=0.9", "scheduler=step", "scheduler.step_size=1", "data.val_size=0"]),
        # Metrics of one's own, whose predictions belong to the state within an epoch:
        (
            17,
            [
                *("metrics=[top2_accuracy,calibration_error]", "objective=val/calibration_error", "scheduler=plateau"),
                *("scheduler.monitor=${objective}", "scheduler.patience=0", "callbacks.early_stopping.patience=1"),
            ],
        ),
        # One step a call, by Lightning's own optimization:
        (15, ["trainer.gradient_clip_val=1", "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.05"]),
        (6, ["trainer.accumulate_grad_batches=3", "scheduler=onecycle", "model.dropout=0.3"]),
        (15, ["trainer.val_check_interval=0.5", "scheduler=step", "scheduler.step_size=1"]),
        (16, ["trainer.limit_train_batches=7", "scheduler=cosine", "trainer.max_epochs=4"]),
        (13, ["trainer.max_steps=28", "scheduler=onecycle", "trainer.max_epochs=-1"]),
        (10, ["trainer.overfit_batches=4", "trainer.max_epochs=6"]),
        (14, ["trainer.precision=64-true", "callbacks.ema.decay=0.9"]),
        (13, [f"+callbacks.x._target_={ACCUMULATION}", "+callbacks.x.scheduling={0:1,1:2,2:3}", *OFF_FRACTION]),
    ],
    ids=str,
)
def test_resumed_run_equals_uninterrupted_run(
    compose_small: Compose, sigterm_at: Ask, step: int, overrides: list[str]
) -> None:
    whole = compose_small("whole", *USUAL, *overrides)
    train(whole)
    cfg = compose_small("interrupted", *USUAL, *overrides)
    interrupt_and_resume(cfg, sigterm_at, step)
    assert differences(outcome(Path(whole.run_dir)), outcome(Path(cfg.run_dir))) == []


def test_run_is_resumed_after_a_dead_worker(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    # Many more batches than a worker prefetches follow the one in which it dies.
    usual = (
        *("test=true", "trainer.max_epochs=1", "data.batch_size=8"),
        *("checkpoint.every_n_steps=5", "steps_per_execution=2"),
    )
    whole = compose_small("whole", *usual)
    train(whole)
    learn = Classifier.compute_training_loss

    def kill_worker(self: Classifier, batch: Any, number: int) -> Any:
        if number == 13:
            for worker in multiprocessing.active_children():
                os.kill(worker.ident or 0, signal.SIGKILL)
        return learn(self, batch, number)

    monkeypatch.setattr(Classifier, "compute_training_loss", kill_worker)
    cfg = compose_small("interrupted", *usual, "data.num_workers=1")
    with pytest.raises(UserError, match=r"^data.num_workers: .* resume=\S*/interrupted data.num_workers=0$"):
        train(cfg)
    assert not multiprocessing.active_children()
    monkeypatch.undo()
    train(compose_small("interrupted", *usual, "data.num_workers=0"), resumed=True)
    assert differences(outcome(Path(whole.run_dir)), outcome(Path(cfg.run_dir))) == []


def test_run_interrupted_before_or_while_drawing_figures_is_resumed(
    compose_small: Compose, sigterm_at: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = "callbacks=default", "callbacks.evaluation_figures.count=2"
    overrides = (*USUAL, *figures, "logger=[csv,tensorboard]", "data.shuffle=false", "optimizer=adamw")
    whole, before, while_drawing = (compose_small(name, *overrides) for name in ("whole", "before", "while_drawing"))
    train(whole)
    interrupt_and_resume(before, sigterm_at, 30)  # the last step

    def interrupt(*_: Any) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr("fashion_mlp.callbacks.evaluation_figures.EvaluationFigures.on_test_batch_end", interrupt)
    with pytest.raises(Interrupted):
        train(while_drawing)
    assert read_result(Path(while_drawing.run_dir)) is None
    monkeypatch.undo()
    train(while_drawing, resumed=True)
    expected = outcome(Path(whole.run_dir))
    for cfg in (before, while_drawing):
        assert differences(expected, outcome(Path(cfg.run_dir))) == []


def rows(cfg: DictConfig) -> list[str]:
    return Path(cfg.run_dir, "csv/metrics.csv").read_text().splitlines()


def test_resumed_csv_log_has_each_row_once_also_after_a_kill_while_it_is_rewritten(
    compose_small: Compose, sigterm_at: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (
        "logger=csv",
        "test=true",
        "trainer.log_every_n_steps=3",
        "steps_per_execution=2",
        "checkpoint.every_n_steps=4",
    )
    whole, cfg, killed_cfg = (compose_small(name, *overrides) for name in ("whole", "interrupted", "killed"))
    train(whole)
    sigterm_at(13)
    with pytest.raises(Interrupted):
        train(cfg)
    shutil.copytree(cfg.run_dir, killed_cfg.run_dir)
    train(cfg, resumed=True)

    def killed(logger: CSVLogger) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CSVLogger, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(killed_cfg, resumed=True)
    train(killed_cfg, resumed=True)
    assert not Path(killed_cfg.run_dir, "csv/metrics.before").exists()
    columns = rows(whole)[0].split(",")
    for run in (cfg, killed_cfg):
        expected, table = ([[row[name] for name in columns] for row in csv.DictReader(rows(of))] for of in (whole, run))
        assert table == expected


# A name with `=`, in a subdirectory for each epoch.
NAMED = "callbacks.best_checkpoint.filename='{epoch}-{val/acc:.3f}'"


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["callbacks.best_checkpoint.dirpath=${run_dir}/best"],
        [NAMED],
        [NAMED, "+callbacks.best_checkpoint.save_top_k=2"],
        ["+callbacks.best_checkpoint.save_top_k=2"],
    ],
    ids=["best", "directory", "named", "named, two", "two"],
)
def test_moved_run_keeps_its_best_checkpoint(compose_small: Compose, sigterm_at: Ask, overrides: list[str]) -> None:
    overrides = ["optimizer.lr=0.5", "trainer.max_epochs=4", *LOGGED_AND_TESTED, *overrides]
    whole, before, after = (compose_small(name, *overrides) for name in ("whole", "before", "after"))
    train(whole)
    sigterm_at(25)
    with pytest.raises(Interrupted):
        train(before)
    Path(before.run_dir).rename(after.run_dir)
    train(after, resumed=True)
    epochs = [Run(cfg.run_dir).metrics["epoch"] for cfg in (whole, after)]
    assert epochs[0] == epochs[1] < 4  # else nothing was kept
    assert differences(outcome(Path(whole.run_dir)), outcome(Path(after.run_dir))) == []
    kept = [{path.relative_to(cfg.run_dir) for path in Path(cfg.run_dir).rglob("*.ckpt")} for cfg in (whole, after)]
    assert kept[0] == kept[1]


# A call of training_step holds two steps.
TWO_STEPS = ("steps_per_execution=2", *LOGGED_AND_TESTED)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of runs that tests copy."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def whole(runs: Path, run_small: RunCommand) -> Path:
    """Return the directory of a run of two epochs."""
    if not (runs / "whole").exists():
        assert run_small(f"hydra.run.dir={runs}/whole", *TWO_STEPS).returncode == 0
    return runs / "whole"


@pytest.fixture
def interrupted(runs: Path, run_small: RunCommand, sigterm_at: Ask) -> Path:
    """Return the directory of the same run, interrupted in its second epoch, in the working directory."""
    if not (runs / "a").exists():
        sigterm_at(15)
        done = run_small("hydra.run.dir=a", *TWO_STEPS)
        assert done.returncode == 143
        assert done.stderr == "interrupted after step 16; resume with: python train.py resume=a\n"
        shutil.move("a", runs)
    shutil.copytree(runs / "a", "a")
    return Path("a")


@pytest.fixture
def complete(whole: Path) -> Path:
    """Return the directory of a copy of the whole run, in the working directory."""
    shutil.copytree(whole, "a")
    return Path("a")


@pytest.fixture
def one_epoch(runs: Path, run_small: RunCommand) -> Path:
    """Return the directory of a run of one epoch, in the working directory."""
    if not (runs / "one_epoch").exists():
        assert run_small(f"hydra.run.dir={runs}/one_epoch", "trainer.max_epochs=1").returncode == 0
    shutil.copytree(runs / "one_epoch", "a")
    return Path("a")


def test_run_is_resumed_by_the_printed_command(interrupted: Path, run_in_process: RunCommand) -> None:
    done = run_in_process("resume=a")
    assert done.returncode == 0, done.stderr
    assert "from      a/checkpoints/last.ckpt, with optimizer and schedule, after step 16" in done.stdout
    assert "epoch 1/2" not in done.stdout
    assert "epoch 2/2" in done.stdout
    metrics = Run(interrupted).metrics
    assert "data.train_size=600" in metrics["overrides"]

    again = run_in_process("resume=a")
    assert again.returncode == 0
    assert again.stdout.startswith(f"a: complete, with val/acc {metrics['val/acc']:.4f} after 2 epochs")
    assert len(again.stdout.splitlines()) == 1


def test_resume_auto_starts_a_run_then_resumes_it(
    whole: Path, run_small: RunCommand, tmp_path: Path, sigterm_at: Ask
) -> None:
    command = ("hydra.run.dir=a", *TWO_STEPS, "resume=auto")
    sigterm_at(15, signal.SIGUSR1)
    done = run_small(*command)
    assert (done.returncode, done.stderr) == (138, "interrupted after step 16; resume with: python train.py resume=a\n")
    done = run_small(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "from      a/checkpoints/last.ckpt, with optimizer and schedule, after step 16" in done.stdout
    assert differences(outcome(whole), outcome(tmp_path / "a")) == []
    done = run_small(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"a: complete, with val/acc 0\.\d{4} after 2 epochs\n", done.stdout)
    done = run_small(*command, "seed=3")
    assert done.returncode == 1
    assert done.stderr.startswith("error: seed=3: cannot be changed.")


@pytest.mark.parametrize("written", [[], ["config.yaml"], ["config.yaml", "hydra.yaml", "overrides.yaml"]], ids=str)
def test_resume_auto_starts_a_run_that_was_killed_while_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a/checkpoints").mkdir(parents=True)
    Path("a/.hydra").mkdir()
    Path("a/mine.txt").touch()
    for name in written:
        Path("a/.hydra", name).touch()  # Hydra has not written its content
    command = ["hydra.run.dir=a", "resume=auto", "seed=1"]
    assert expand_resume(command) == ["hydra.run.dir=a", "seed=1"]
    assert sorted(map(str, Path("a").rglob("*"))) == ["a/.hydra", "a/.lock", "a/mine.txt"]


def test_resume_auto_deletes_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a/checkpoints").mkdir(parents=True)
    Path("a/checkpoints/last.ckpt").touch()
    with pytest.raises(UserError, match="resume=a: no record of a run"):
        expand_resume(["hydra.run.dir=a", "resume=auto"])
    assert Path("a/checkpoints/last.ckpt").exists()


def test_complete_run_is_resumed_for_more_epochs(run_small: RunCommand, run_in_process: RunCommand) -> None:
    for name, epochs in (("short", 2), ("long", 3)):
        epochs_of_run = f"trainer.max_epochs={epochs}"
        done = run_small(f"hydra.run.dir={name}", epochs_of_run, "model.dropout=0.2", *LOGGED_AND_TESTED)
        assert done.returncode == 0
    done = run_in_process("resume=short", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    assert differences(outcome(Path("long")), outcome(Path("short"))) == []
    assert run_in_process("resume=short").stdout.startswith("short: complete")  # it remembers the third


def modification_times(directory: Path) -> dict[Path, int]:
    """Return the time of the last change of each file, except the lock, which some versions of filelock write to."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"}


def test_changed_configuration_is_refused(interrupted: Path, run_in_process: RunCommand) -> None:
    before = modification_times(interrupted)
    changed = "cannot be changed"
    for overrides, message in (
        (["model.hidden_sizes=[16]"], f"model.hidden_sizes=[16]: {changed}. Resume accepts"),
        (["optimizer=sgd", "seed=3"], f"seed=3: {changed}"),
        (["data.batch_size=10"], f"data.batch_size=10: {changed}"),
        (
            ["trainer.max_epochs=1"],
            "trainer.max_epochs=1: the run has trainer.max_epochs=2. Expected a larger number, or the same",
        ),
        (["trainer.max_epochs=many"], "trainer.max_epochs=many: invalid value. Expected -1, an integer"),
        (
            ["trainer.max_epochs=null"],
            "trainer.max_epochs=null: the run has trainer.max_epochs=2. Expected a larger number",
        ),
        (
            ["trainer.max_epochs=-1"],
            "trainer.max_epochs=-1: the run has trainer.max_epochs=2. Expected a larger number",
        ),
        (["trainer.max_epochs=4", "data.root=/dev/null/x"], "data.root: /dev/null/x/"),
        (["-m"], "resume=a: resumes a single run. Type it without -m"),
        (["data.num_workers=-1"], "data.num_workers=-1: invalid value. Expected an integer of at least 0"),
    ):
        done = run_in_process("resume=a", *overrides)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) <= 2
    after = modification_times(interrupted)
    assert [path for path in before | after if before.get(path) != after.get(path)] == []


@pytest.mark.parametrize("override", ["scheduler=cosine", "scheduler=onecycle", "data.augment.off_fraction=0.5"])
def test_more_epochs_are_refused_if_something_depends_on_their_number(
    run_small: RunCommand, run_in_process: RunCommand, override: str
) -> None:
    assert run_small("hydra.run.dir=a", "trainer.max_epochs=1", "data.augment.hflip=0.5", override).returncode == 0
    done = run_in_process("resume=a", "trainer.max_epochs=2")
    assert done.returncode == 1
    planned = "the schedule" if override.startswith("scheduler") else "data.augment.off_fraction"
    assert f"trainer.max_epochs=2: {planned} was planned for trainer.max_epochs=1" in done.stderr


def test_numbers_from_the_environment_are_frozen(
    run_small: RunCommand, run_in_process: RunCommand, sigterm_at: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "hydra.run.dir=whole", "optimizer.lr=0.01", "model.hidden_sizes=[8]"
    assert run_small(*whole, *LOGGED_AND_TESTED).returncode == 0
    for name, value in (("LR", "0.01"), ("WIDTHS", "[8]"), ("DATA", "elsewhere")):
        monkeypatch.setenv(name, value)
    numbers = (
        "optimizer.lr='${oc.decode:${oc.env:LR}}'",
        "model.hidden_sizes='${oc.decode:${oc.env:WIDTHS}}'",
        "data.shuffle_seed=${seed}",
        *LOGGED_AND_TESTED,
    )
    sigterm_at(11)
    assert run_small("hydra.run.dir=a", *numbers, "data.root=${oc.env:DATA}").returncode == 143
    monkeypatch.delenv("LR")
    monkeypatch.setenv("WIDTHS", "[16]")
    monkeypatch.delenv("DATA")
    before = Path("a/.hydra/config.yaml").read_text()
    done = run_in_process("resume=a")
    assert done.returncode == 1
    assert done.stderr == (
        "error: data.root=${oc.env:DATA}: cannot be resolved: Environment variable 'DATA' not found\n"
    )
    assert Path("a/.hydra/config.yaml").read_text() == before
    done = run_in_process("resume=a", "data.root=elsewhere")
    assert done.returncode == 0, done.stderr
    assert differences(outcome(Path("whole")), outcome(Path("a"))) == []
    assert "data.shuffle_seed=${seed}" in Run("a").metrics["overrides"]


def test_directory_without_a_run_is_refused(run_in_process: RunCommand, tmp_path: Path) -> None:
    assert "resume=nowhere: no such directory" in run_in_process("resume=nowhere").stderr
    (tmp_path / "empty").mkdir()
    assert "resume=empty: no record of a run" in run_in_process("resume=empty").stderr
    (tmp_path / "empty/multirun.yaml").touch()
    assert "resume=empty: holds a sweep. Type resume_sweep=empty" in run_in_process("resume=empty").stderr


def test_run_without_a_checkpoint_starts_over(interrupted: Path, run_in_process: RunCommand) -> None:
    for name in ("last.ckpt", "previous.ckpt"):
        (interrupted / "checkpoints" / name).unlink()
    before = set(interrupted.glob("events*"))
    done = run_in_process("resume=a")
    assert done.returncode == 0, done.stderr
    assert "epoch 1/2" in done.stdout
    assert "from" not in done.stdout.split()
    assert before
    assert not before & set(interrupted.glob("events*"))


def test_second_process_in_a_run_directory_is_refused(interrupted: Path, run_in_process: RunCommand) -> None:
    holder = "import filelock, sys\nwith filelock.FileLock('a/.lock'):\n    print(flush=True)\n    sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        done = run_in_process("resume=a")
        other.communicate()
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*a: in use by another process\n", done.stderr)
    assert run_in_process("resume=a").returncode == 0


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("harm", [damage, cut, Path.unlink])
def test_previous_checkpoint_replaces_a_damaged_one(
    whole: Path, interrupted: Path, run_in_process: RunCommand, harm: Callable[[Path], None]
) -> None:
    harm(interrupted / "checkpoints/last.ckpt")
    done = run_in_process("resume=a")
    assert done.returncode == 0, done.stderr
    assert ("last.ckpt: refused: damaged" in done.stdout) == (harm is not Path.unlink)
    assert "from      a/checkpoints/previous.ckpt, with optimizer and schedule, after step 10" in done.stdout
    assert differences(outcome(whole), outcome(interrupted)) == []


def test_run_with_damaged_checkpoints_is_refused_and_unchanged(interrupted: Path, run_in_process: RunCommand) -> None:
    for name in ("last.ckpt", "previous.ckpt"):
        damage(interrupted / "checkpoints" / name)
    done = run_in_process("resume=a")
    assert done.returncode == 1
    assert "no checkpoint to resume from. Start a new run with ckpt_path=" in done.stderr
    assert (interrupted / "checkpoints/best.ckpt").is_file()


def test_truncated_event_file_is_reported(interrupted: Path, run_in_process: RunCommand) -> None:
    events = min(interrupted.glob("events*"))
    cut(events)
    done = run_in_process("resume=a")
    assert done.returncode == 0
    assert f"{events.name}: truncated or missing. Its curves are lost; training is not affected" in done.stdout


def test_second_signal_ends_the_process(compose_small: Compose) -> None:
    """Without saving first, and with the exit status that a shell expects."""
    program = (
        "import os, signal\n"
        "from fashion_mlp.runtime import signals\n"
        "signals.SAME_REQUEST = -1\n"
        "stop = signals.GracefulStop()\n"
        "with stop.install():\n"
        "    stop.is_deferred = True\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('and here', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "still here\n", "")


def test_signal_while_a_loader_starts(run_small: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CombinedLoader, "__iter__", lambda _: os.kill(os.getpid(), signal.SIGINT))
    done = run_small("hydra.run.dir=a")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "count"), [(["--kills", "1"], 3), (["--draw", "2", "--kills", "2"], 2)])
def test_run_killed_at_random_moments(tmp_path: Path, arguments: list[str], count: int) -> None:
    """The short form of `python tests/kill_and_resume.py --kills 20` and `--draw 20`."""
    script = str(ROOT / "tests/kill_and_resume.py")
    done = run_forked([*arguments, "--train-size", "2200"], tmp_path, program=script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("exactly equal") == count


@pytest.mark.usefixtures("one_epoch")
def test_new_run_starts_from_the_weights_of_another(run_small: RunCommand) -> None:
    weights = "ckpt_path=a/checkpoints/last.ckpt", "ckpt_restore=weights"
    done = run_small(*weights, "hydra.run.dir=b", "trainer.max_epochs=1", "optimizer.lr=1e-30", "optimizer=sgd")
    assert done.returncode == 0, done.stderr
    assert "from      a/checkpoints/last.ckpt, weights only" in done.stdout
    assert "epoch 1/1" in done.stdout
    old, new = (Run(run).checkpoint("last")["state_dict"] for run in "ab")
    assert differences(old, new) == []  # such a rate changes nothing


@pytest.mark.usefixtures("complete")
def test_best_checkpoint_of_another_run_is_not_tested(run_small: RunCommand) -> None:
    """A run that starts from a checkpoint and never validates has no best checkpoint of its own."""
    never = "test=true", "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"  # the third epoch only
    done = run_small("hydra.run.dir=b", "ckpt_path=a/checkpoints/last.ckpt", *never)
    assert done.returncode == 0, done.stderr
    assert Run("b").metrics["checkpoint"] == "checkpoints/last.ckpt"


@pytest.mark.parametrize("epochs_left", [0, 1])
def test_deleted_best_checkpoint_is_reported_and_replaced(
    complete: Path, run_in_process: RunCommand, epochs_left: int
) -> None:
    (complete / "checkpoints/best.ckpt").unlink()
    (complete / "metrics.json").unlink()  # as if the run had been killed before its test
    done = run_in_process("resume=a", f"trainer.max_epochs={2 + epochs_left}")
    assert done.returncode == 0, done.stderr
    assert "a/checkpoints/best.ckpt: missing; the best checkpoint is chosen among the remaining epochs" in done.stdout
    assert Run(complete).metrics["checkpoint"] == ("checkpoints/best.ckpt" if epochs_left else "checkpoints/last.ckpt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config", ""),
        ("config", "- 1"),
        ("config", "data: {"),
        ("config", "trainer: 5"),
        ("overrides", "{}"),
        ("overrides", "- {a: 1}"),
        ("hydra", "hydra: []"),
    ],
)
def test_damaged_record_is_refused(interrupted: Path, run_in_process: RunCommand, name: str, content: str) -> None:
    (interrupted / ".hydra" / f"{name}.yaml").write_text(content)
    done = run_in_process("resume=a")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "a" in done.stderr.split(":")[1]
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 5


def test_damaged_metrics_do_not_mark_a_run_as_complete(
    whole: Path, interrupted: Path, run_in_process: RunCommand
) -> None:
    expected = outcome(whole)
    # The first time, the second epoch is left; then only the test.
    for content in ("", "{}", "[]", '{"val/acc": NaN}', '{"val/acc": "high", "epochs": 2}'):
        (interrupted / "metrics.json").write_text(content)
        done = run_in_process("resume=a")
        assert done.returncode == 0, done.stderr
        assert differences(expected, outcome(interrupted)) == []


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("label_smoothing: 0.0", "smoothing: 0.0", ""),
        ("  dropout: 0.0", "  drop: 0.0", ", with other keys (model.drop"),
    ],
)
def test_run_of_another_version_is_refused(
    interrupted: Path, run_in_process: RunCommand, before: str, after: str, reason: str
) -> None:
    config = interrupted / ".hydra/config.yaml"
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after))
    done = run_in_process("resume=a")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: resume=a: recorded by another version{reason}")
    assert "Start a new run with its weights" in done.stderr
    assert done.stderr.endswith("ckpt_path=a/checkpoints/last.ckpt ckpt_restore=weights\n")


def test_changed_default_is_refused(interrupted: Path, run_in_process: RunCommand) -> None:
    config = interrupted / ".hydra/config.yaml"
    config.write_text(config.read_text().replace("label_smoothing: 0.0", "label_smoothing: 0.1"))
    done = run_in_process("resume=a")
    assert done.returncode == 1
    assert done.stderr == "error: label_smoothing=0.0: a was started with 0.1. Type label_smoothing=0.1\n"
    assert run_in_process("resume=a", "label_smoothing=0.1").returncode == 0


@pytest.mark.usefixtures("one_epoch")
def test_run_without_a_checkpoint_starts_from_its_ckpt_path(
    run_small: RunCommand, run_in_process: RunCommand, sigterm_at: Ask
) -> None:
    start = "ckpt_path=a/checkpoints/last.ckpt", "ckpt_restore=weights"
    assert run_small("hydra.run.dir=whole", *start).returncode == 0
    sigterm_at(3)
    assert run_small("hydra.run.dir=b", *start).returncode == 143
    Path("b/checkpoints/last.ckpt").unlink()
    assert run_in_process("resume=b").returncode == 0
    weights = [Run(run).checkpoint("last")["state_dict"] for run in ("whole", "b")]
    assert differences(*weights) == []


@pytest.mark.usefixtures("one_epoch")
def test_checkpoint_of_another_configuration_is_refused(run_small: RunCommand) -> None:
    longer = "trainer.max_epochs=9"
    trained = "ckpt_path=a/checkpoints/last.ckpt was trained with"
    for overrides, message in (
        (["model.hidden_sizes=[16]", longer], "another network (size mismatch for model.layers.0.weight: "),
        (["model.hidden_sizes=[16]", "ckpt_restore=weights"], "another network"),
        (["optimizer.lr=0.1", longer], f"optimizer.lr=0.1: {trained} 0.001"),
        (["optimizer=sgd", longer], f"optimizer=torch.optim.SGD: {trained} torch.optim.Adam"),
        (["scheduler=cosine", longer], f"scheduler=fashion_mlp.schedulers.cosine: {trained} null"),
        (["trainer.max_epochs=1"], "trained for 1 epoch already. Set trainer.max_epochs above that"),
    ):
        done = run_small("ckpt_path=a/checkpoints/last.ckpt", "hydra.run.dir=b", *overrides)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not Path("b").exists()


@pytest.fixture
def full_disk_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Return a function that limits the size of files from a given optimizer step."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    learn = Classifier.compute_training_loss

    def fill(step: int, size: int) -> None:
        def filling(self: Classifier, batch: Any, number: int) -> Any:
            if number == step:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
                monkeypatch.setattr(Classifier, "compute_training_loss", learn)
            return learn(self, batch, number)

        monkeypatch.setattr(Classifier, "compute_training_loss", filling)

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_full_disk_keeps_the_previous_state(
    whole: Path, run_small: RunCommand, run_in_process: RunCommand, full_disk_at: Callable[[int, int], None]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    full_disk_at(11, 100_000)  # less than a checkpoint, more than the charts
    done = run_small("hydra.run.dir=a", *TWO_STEPS)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: .*a/checkpoints/best.ckpt: File too large; resume with: "
        r"python train.py resume=a\n",
        done.stderr,
    )
    assert {path.name for path in Path("a/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    done = run_in_process("resume=a")
    assert done.returncode == 0, done.stderr
    assert differences(outcome(whole), outcome(Path("a"))) == []
