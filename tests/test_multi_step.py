"""Tests that several optimizer steps per `training_step` give the same results as one, and where they are used."""

import csv
from collections import defaultdict
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LambdaCallback, ModelCheckpoint
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.testing import assert_close

from fashion_mlp.callbacks.ema import WeightEMA
from fashion_mlp.callbacks.gradient_norm import GradientNorm
from fashion_mlp.callbacks.run_progress import RunProgress
from fashion_mlp.classifier import Classifier
from fashion_mlp.data import Augmentation
from fashion_mlp.multi_step import MultiStepClassifier, supports_multi_step
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import Compose, Run

AUGMENT = (
    *("data.augment.hflip=0.5", "data.augment.translate=1", "data.augment.erasing=0.25", "data.augment.mixup=0.2"),
    "data.augment.off_fraction=0.25",
)


def read_scalars(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the step and value of each point that a CSV logger wrote, by the name of the metric."""
    scalars = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name in row.keys() - {"step", "epoch"}:
                if row[name]:
                    scalars[name].append((row["step"], row[name]))
    return scalars


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.dropout=0.3", "model.norm=batch", "scheduler=onecycle", "label_smoothing=0.1"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "scheduler=cosine", "data.batch_size=30"],
        ["optimizer=rmsprop", "scheduler=step", "scheduler.step_size=1", "model.dropout=0.3", *AUGMENT],
        ["optimizer=adamw", "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.05", "trainer.max_epochs=5"],
        ["scheduler=plateau", "scheduler.monitor=train/loss", "data.val_size=0", "optimizer.lr=0.05"],
        [
            *("trainer.precision=bf16-mixed", "model.norm=batch", "model.dropout=0.3"),
            *("metrics=[top2_accuracy,calibration_error]", "callbacks.early_stopping.patience=1"),
            "trainer.max_epochs=3",
        ],
    ],
    ids=" ".join,
)
def test_weights_optimizer_state_and_scalars_do_not_depend_on_the_steps_per_execution(
    compose_small: Compose, tmp_path: Path, overrides: list[str]
) -> None:
    cfg = compose_small("run", "logger=csv", "trainer.log_every_n_steps=3", *overrides)
    checkpoints, scalars = [], []
    for steps in (1, 4, 16):
        cfg.run_dir, cfg.steps_per_execution = str(tmp_path / f"run{steps}"), steps
        train(cfg)
        run = Run(cfg.run_dir)
        checkpoints.append(run.checkpoint("last"))
        scalars.append(read_scalars(run.dir / "csv/metrics.csv"))
    for checkpoint in checkpoints[1:]:
        for key in ("global_step", "state_dict", "optimizer_states"):
            assert_close(checkpoint[key], checkpoints[0][key], rtol=0, atol=0)
    assert scalars[0] == scalars[1] == scalars[2]
    assert scalars[0]["train/loss_step"]


def test_autocast_covers_the_forward_pass_only(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = set()
    compute_training_loss = Classifier.compute_training_loss

    def record_autocast(self: Classifier, batch: Any, step: int) -> Any:
        loss, logits = compute_training_loss(self, batch, step)
        logits.register_hook(lambda _: recorded.add(("backward", torch.is_autocast_enabled("cpu"))))  # type: ignore[no-untyped-call]
        recorded.add(("forward", torch.is_autocast_enabled("cpu")))
        return loss, logits

    monkeypatch.setattr(Classifier, "compute_training_loss", record_autocast)
    train(compose_small("run", "trainer.precision=bf16-mixed", "trainer.max_epochs=1"))
    assert recorded == {("forward", True), ("backward", False)}


@pytest.mark.parametrize("steps", [1, 4])
def test_last_steps_are_not_augmented(compose_small: Compose, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    current_step, augmented_steps = 0, []
    compute_training_loss, augment = Classifier.compute_training_loss, Augmentation.__call__

    def record_step(self: Classifier, batch: Any, step: int) -> Any:
        nonlocal current_step
        current_step = step
        return compute_training_loss(self, batch, step)

    def record_augmentation(self: Augmentation, *arguments: Any) -> Any:
        augmented_steps.append(current_step)
        return augment(self, *arguments)

    monkeypatch.setattr(Classifier, "compute_training_loss", record_step)
    monkeypatch.setattr(Augmentation, "__call__", record_augmentation)
    common = (f"steps_per_execution={steps}", *AUGMENT)
    save_all = "callbacks.best_checkpoint.filename='{epoch}'", "+callbacks.best_checkpoint.save_top_k=-1"
    whole = compose_small("whole", *save_all, *common)
    train(whole)
    # Of the 20 steps; step 0 is a sample of images that is logged before training.
    assert augmented_steps == [0, *range(1, 16)]
    current_step = 0
    augmented_steps.clear()
    train(compose_small("continued", f"ckpt_path='{whole.run_dir}/checkpoints/epoch=0.ckpt'", *common))
    assert augmented_steps == [0, *range(11, 16)]


def step_every_other_batch(optimizer: Optimizer, total_steps: int) -> LRSchedulerConfigType:
    return {"scheduler": StepLR(optimizer, step_size=1), "interval": "step", "frequency": 2}


def test_frequency_of_a_schedule_needs_single_steps(compose_small: Compose) -> None:
    target = "scheduler._target_=tests.test_multi_step.step_every_other_batch"
    cfg = compose_small("run", "scheduler=step", "~scheduler.step_size", "~scheduler.gamma", target)
    with pytest.raises(UserError, match=r"^scheduler: a frequency other than 1 .* Type steps_per_execution=1$"):
        train(cfg)
    cfg.run_dir, cfg.steps_per_execution = f"{cfg.run_dir}_single", 1
    train(cfg)
    # Ten steps per epoch, of which every other one divides the rate by ten.
    assert Run(cfg.run_dir).checkpoint("last")["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(1e-13)


class StepHook(Callback):
    """A callback with a hook that runs after each step."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pass


def trainer_arguments(**changes: Any) -> dict[str, Any]:
    defaults = {name: parameter.default for name, parameter in signature(Trainer).parameters.items()}
    return defaults | {"max_epochs": 5, "devices": 1, "num_sanity_val_steps": 0} | changes


def is_supported(callbacks: list[Callback] | None = None, world_size: int = 1, **changes: Any) -> bool:
    return supports_multi_step(trainer_arguments(**changes), callbacks or [], world_size)


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 1.0},
        {"limit_train_batches": 0.5},
        {"max_steps": 100},
        {"val_check_interval": 0.5},
        {"precision": "bf16-true"},
        {"precision": "16-mixed"},
        {"strategy": "ddp"},
        {"devices": 2, "world_size": 2},
        {"devices": "auto", "world_size": 2},
        {"fast_dev_run": True},
        {"overfit_batches": 1},
        {"profiler": "simple"},
        {"detect_anomaly": True},
        {"max_epochs": -1},
        {"callbacks": [StepHook()]},
        {"callbacks": [LambdaCallback(on_train_batch_end=lambda *arguments: None)]},
        {"callbacks": [GradientNorm(50)]},
        {"callbacks": [ModelCheckpoint(every_n_train_steps=5)]},
        {"callbacks": [GradientAccumulationScheduler({1: 2})]},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_options_that_need_hooks_in_each_step_exclude_multi_step(changes: dict[str, Any]) -> None:
    common_callbacks = [ModelCheckpoint(), RunProgress(), WeightEMA(0.9), LambdaCallback()]
    assert is_supported(common_callbacks, max_epochs=3, accelerator="cpu", precision="bf16-mixed")
    assert not is_supported(**changes)


@pytest.mark.parametrize(
    ("override", "expected"),
    [("trainer.max_epochs=1", MultiStepClassifier), ("trainer.gradient_clip_val=1.0", Classifier)],
)
def test_classifier_class_follows_from_the_trainer_options(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, override: str, expected: type[Classifier]
) -> None:
    classes = []
    compute_training_loss = Classifier.compute_training_loss

    def record_class(self: Classifier, batch: Any, step: int) -> Any:
        classes.append(type(self))
        return compute_training_loss(self, batch, step)

    monkeypatch.setattr(Classifier, "compute_training_loss", record_class)
    train(compose_small("run", "trainer.max_epochs=1", override))
    assert classes == [expected] * 10
