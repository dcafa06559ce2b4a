"""Error messages appear together, before anything is created; the cases are in `tests/config/error_messages/`."""

from pathlib import Path

import pytest

from fashion_mlp.config.command_line import move_flags_first
from fashion_mlp.runtime.errors import UserError
from tests.conftest import RunCommand, check

VALID = [
    "",
    "optimizer=sgd optimizer.lr=0.1",
    "model=linear data=synthetic data.val_size=0",
    "model.hidden_sizes=[256,128] optimizer.lr=3e-4 data.batch_size=128 trainer.max_epochs=20",
    "model.hidden_sizes.0=7",
    "data.augment.hflip=0.5 data.augment.translate=1 data.augment.erasing=0.25 data.augment.mixup=0.2",
    "trainer.gradient_clip_val=0.5 trainer.limit_train_batches=0.1 trainer.max_time=00:00:01:00",
    "scheduler=plateau scheduler.monitor=train/loss data.val_size=0",
    "data=image_folder data.img_dir=. data.val_size=0.25",
    "data=image_csv data.annotations_file=pyproject.toml data.img_dir=.",
    "-m data=image_csv data.annotations_file=pyproject.toml data.img_dir=. data.batch_size=3,4",
    "experiment=quickstart seed=0",
    "~callbacks.progress_bar +callbacks.extra=null",
    "hydra.run.dir=somewhere",
    "--config-dir . optimizer=sgd",
    "-m optimizer=sgd,adam optimizer.lr=1e-2,1e-3 seed=range(3)",
    "sweep=optuna hydra.sweeper.n_trials=50 hydra.sweeper.n_jobs=2 hydra.sweep.dir=somewhere",
    "sweep=optuna optimizer=sgd,adam optimizer.lr=tag(log,interval(1e-3,1e-1)) model.width=choice(64,128)",
    "-m sweep=optuna model=linear model.hidden_sizes=[] experiment=fast",
    "seed=1,2 -m optimizer=sgd",
    "sweep=optuna data=image_folder data.img_dir=src data.val_img_dir=tests data.val_size=0",
    "sweep=optuna hydra.sweeper.n_trials=${hydra.sweeper.n_jobs}",
    "optimizer.lr=${label_smoothing} label_smoothing=0.1",
    "hydra.run.dir=runs/${optimizer.lr}",
    "+callbacks.best_checkpoint.save_top_k=3",
    "trainer.strategy={_target_:lightning.pytorch.strategies.DDPStrategy}",
    "--help",
]


@pytest.mark.parametrize("typed", VALID)
def test_valid_command_line_is_accepted(typed: str, compose_once: None) -> None:
    check(move_flags_first(typed.split()))


def test_all_mistakes_are_reported_together() -> None:
    typed = "data.batch_size=0 model.dropout=1.5 optimizer.lr=-1 model.activation=rleu seed"
    with pytest.raises(UserError) as caught:
        check(move_flags_first(typed.split()))
    assert len(str(caught.value).splitlines()) == 5
    with pytest.raises(UserError, match="and 2 more"):
        check([*typed.split(), "sed=1"])


@pytest.mark.parametrize("key", ["run_dir", "hydra.run.dir", "ckpt_path", "callbacks.best_checkpoint.dirpath"])
def test_a_path_of_thousands_of_characters_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"^{key}=x+: not a valid path .*File name too long"):
        check([f"{key}={'x' * 5000}"])


def test_invalid_yaml_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("seed: 1\n  optimizer: 2\n")
    with pytest.raises(UserError, match=r"^experiment=mine: mapping values .* in \"\S+/mine.yaml\", line 2"):
        check(["--config-dir", str(tmp_path), "experiment=mine"])


def test_only_the_first_rank_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()  # created by the first rank
    monkeypatch.setenv("LOCAL_RANK", "1")
    check([f"hydra.run.dir={tmp_path}"])


def test_errors_of_a_process(run_in_new_process: RunCommand, tmp_path: Path) -> None:
    done = run_in_new_process("optimizer.lr=-1", "model.activation=rleu")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: model.activation=rleu: invalid value. "
        "Expected elu, gelu, leaky_relu, relu, selu, sigmoid, silu or tanh; did you mean relu?",
        "error: optimizer.lr=-1: invalid value. Expected a number greater than 0",
    ]
    assert list(tmp_path.iterdir()) == []
    with_traceback = run_in_new_process("optimizer.lr=-1", HYDRA_FULL_ERROR="1")
    assert with_traceback.returncode == 1
    assert "Traceback" in with_traceback.stderr


@pytest.mark.parametrize("typed", ["--help", "--cfg job", "optimizer.lrr=1"])
def test_torch_is_not_imported_without_a_run(run_in_new_process: RunCommand, typed: str) -> None:
    done = run_in_new_process(*typed.split(), PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "numpy"}
