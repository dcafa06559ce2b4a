"""Several steps a call: the same weights and charts as one step a call, and one step where something looks at each."""

from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fashion_mlp.callbacks import EMAWeightAveraging, EpochLogger
from fashion_mlp.classifier import Classifier
from fashion_mlp.data import Augmentation
from fashion_mlp.multi_step import MultiStepClassifier, supports_multi_step
from fashion_mlp.training import train
from tests.conftest import Compose

AUGMENT = (
    *("data.augment.hflip=0.5", "data.augment.translate=1", "data.augment.erasing=0.25", "data.augment.mixup=0.2"),
    "data.augment.off_fraction=0.25",
)


def find_resume_checkpoint(cfg: DictConfig) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(Path(cfg.run_dir, "checkpoints/last.ckpt"), weights_only=True)
    return state


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.dropout=0.3", "model.norm=batch", "scheduler=onecycle", "label_smoothing=0.1"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "scheduler=cosine", "data.batch_size=30"],
        ["model.dropout=0.3", *AUGMENT],
        ["trainer.precision=bf16-mixed", "model.norm=batch", "model.dropout=0.3"],
        ["optimizer=rmsprop", "scheduler=step", "scheduler.step_size=1"],
        ["optimizer=adamw", "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.05", "trainer.max_epochs=5"],
        ["scheduler=plateau", "scheduler.monitor=train/loss", "data.val_size=0", "optimizer.lr=0.05"],
    ],
    ids=" ".join,
)
def test_weights_optimizer_and_charts_are_the_same(compose_small: Compose, overrides: list[str]) -> None:
    states, charts = [], []
    for steps in (1, 4, 16):
        cfg = compose_small(f"run{steps}", "trainer.log_every_n_steps=3", f"steps_per_execution={steps}", *overrides)
        train(cfg)
        states.append(find_resume_checkpoint(cfg))
        events = EventAccumulator(cfg.run_dir).Reload()
        charts.append(
            {
                tag: [(event.step, event.value) for event in events.Scalars(tag)]
                for tag in events.Tags()["scalars"]
                if tag != "samples_per_second"
            }
        )
    for state in states[1:]:
        assert state["global_step"] == states[0]["global_step"]
        for name, weight in states[0]["state_dict"].items():
            assert torch.equal(weight, state["state_dict"][name]), name
        old, new = states[0]["optimizer_states"][0], state["optimizer_states"][0]
        assert old["param_groups"] == new["param_groups"]
        for index, values in old["state"].items():
            assert all(
                torch.equal(values[key], new["state"][index][key]) for key in values if torch.is_tensor(values[key])
            )
    assert charts[0] == charts[1] == charts[2]
    assert charts[0]["train/loss_step"]


def test_only_the_forward_pass_is_autocast(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    model_step = Classifier.model_step

    def noting(self: Classifier, batch: Any, number: int) -> Any:
        loss, logits = model_step(self, batch, number)
        logits.register_hook(lambda _: seen.add(("backward", torch.is_autocast_enabled("cpu"))))  # type: ignore[no-untyped-call]
        seen.add(("forward", torch.is_autocast_enabled("cpu")))
        return loss, logits

    monkeypatch.setattr(Classifier, "model_step", noting)
    train(compose_small("run", "trainer.precision=bf16-mixed", "trainer.max_epochs=1", "logger=none"))
    assert seen == {("forward", True), ("backward", False)}


def test_a_run_goes_on_from_a_checkpoint(compose_small: Compose) -> None:
    whole = compose_small("whole", "trainer.max_epochs=3", "logger=none")
    train(whole)
    first = compose_small("first", "trainer.max_epochs=2", "logger=none")
    train(first)
    second = compose_small(
        "second", "trainer.max_epochs=3", "logger=none", f"ckpt_path={first.run_dir}/checkpoints/last.ckpt"
    )
    train(second)
    assert find_resume_checkpoint(second)["global_step"] == find_resume_checkpoint(whole)["global_step"] == 30


@pytest.mark.parametrize("steps", [1, 4])
def test_the_last_steps_are_not_augmented_also_of_a_run_that_goes_on(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    step, augmented = [0], []
    model_step, augment = Classifier.model_step, Augmentation.__call__

    def noting_step(self: Classifier, batch: Any, number: int) -> Any:
        step[0] = number
        return model_step(self, batch, number)

    def noting_call(self: Augmentation, *arguments: Any) -> Any:
        augmented.append(step[0])
        return augment(self, *arguments)

    monkeypatch.setattr(Classifier, "model_step", noting_step)
    monkeypatch.setattr(Augmentation, "__call__", noting_call)
    short = (f"steps_per_execution={steps}", "logger=none", *AUGMENT)
    whole = compose_small(
        "whole", "callbacks.best_checkpoint.filename='{epoch}'", "+callbacks.best_checkpoint.save_top_k=-1", *short
    )
    train(whole)
    assert augmented == [0, *range(1, 16)]  # of 20, and once before the first, for samples to look at
    augmented.clear()
    step[0] = 0
    train(compose_small("second", f"ckpt_path='{whole.run_dir}/checkpoints/epoch=0.ckpt'", *short))
    assert augmented == [0, *range(11, 16)]


class Watcher(Callback):
    """Looks at each step."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pass


def trainer_arguments(**changes: Any) -> dict[str, Any]:
    defaults = {name: parameter.default for name, parameter in signature(Trainer).parameters.items()}
    usual = defaults | {"max_epochs": 5, "devices": 1, "num_sanity_val_steps": 0}
    return usual | changes


def possible(callbacks: list[Callback] | None = None, **changes: Any) -> bool:
    return supports_multi_step(trainer_arguments(**changes), callbacks or [])


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
        {"devices": 2},
        {"devices": [0, 1]},
        {"fast_dev_run": True},
        {"overfit_batches": 1},
        {"profiler": "simple"},
        {"detect_anomaly": True},
        {"max_epochs": -1},
        {"callbacks": [Watcher()]},
        {"callbacks": [ModelCheckpoint(every_n_train_steps=5)]},
        {"callbacks": [GradientAccumulationScheduler({1: 2})]},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_what_looks_at_each_step_gets_one_step_a_call(changes: dict[str, Any]) -> None:
    usual: list[Callback] = [ModelCheckpoint(), EpochLogger(), EMAWeightAveraging(0.9)]
    assert possible(usual, max_epochs=3, accelerator="cpu", precision="bf16-mixed")
    assert not possible(**changes)


def test_the_run_falls_back_by_itself(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    step = Classifier.model_step
    monkeypatch.setattr(
        Classifier,
        "model_step",
        lambda self, batch, number: kinds.append(type(self)) or step(self, batch, number),  # type: ignore[func-returns-value]
    )
    for name, override in (("several", "trainer.max_epochs=1"), ("one", "trainer.gradient_clip_val=1.0")):
        train(compose_small(name, "trainer.max_epochs=1", "logger=none", override))
    assert kinds == [MultiStepClassifier] * 10 + [Classifier] * 10
