"""Tests of `cuda_graph=true`; those with a graph need a CUDA device."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.testing import assert_close

from fashion_mlp.build.parts import build_classifier, build_datamodule
from fashion_mlp.models import MLP
from fashion_mlp.multi_step import MultiStepClassifier
from fashion_mlp.runtime.cuda_graph import CapturedSteps
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import choose_steps, train
from tests.conftest import Compose, Run
from tests.test_multi_step import AUGMENT, read_scalars

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
# Three calls of `training_step` per epoch, the last with fewer images and a smaller batch.
CUDA = ("trainer=gpu", "steps_per_execution=4", "data.batch_size=47", "trainer.max_epochs=4")

# The last augmented step of 44 is the first of the three in the last call of an epoch.
MIXED_CALL = "data.augment.off_fraction=0.3"


class WaitingMLP(MLP):
    """A network that waits for the device in each forward pass."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits * bool(logits.isfinite().all())


def cycle_momentum(optimizer: Optimizer, total_steps: int) -> LRSchedulerConfigType:
    """Return a schedule that also changes the momentum."""
    return {"scheduler": OneCycleLR(optimizer, max_lr=0.1, total_steps=total_steps), "interval": "step"}


@needs_cuda
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.dropout=0.3", "model.norm=batch", "scheduler=onecycle", "label_smoothing=0.1", "metrics=top2_accuracy"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "scheduler=step", "scheduler.step_size=1", *AUGMENT, MIXED_CALL],
        ["optimizer=adamw", "trainer.precision=bf16-mixed", "model.norm=batch", "class_weights=balanced"],
    ],
    ids=" ".join,
)
def test_graph_does_not_change_weights_optimizer_state_and_scalars(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    replay, replayed = CapturedSteps.replay, []

    def record_replay(self: CapturedSteps, *arguments: Any) -> Any:
        replayed.append(cfg.cuda_graph)
        return replay(self, *arguments)

    monkeypatch.setattr(CapturedSteps, "replay", record_replay)
    checkpoints, scalars = [], []
    for value in ("true", "false"):
        cfg = compose_small(
            value, *CUDA, "logger=csv", "trainer.log_every_n_steps=3", *overrides, f"cuda_graph={value}"
        )
        train(cfg)
        run = Run(cfg.run_dir)
        checkpoints.append(run.checkpoint("last"))
        scalars.append(read_scalars(run.dir / "csv/metrics.csv"))
    for key in ("global_step", "state_dict", "optimizer_states"):
        assert_close(checkpoints[0][key], checkpoints[1][key], rtol=0, atol=0)
    assert checkpoints[0]["lr_schedulers"] == checkpoints[1]["lr_schedulers"]
    assert scalars[0] == scalars[1]
    assert set(replayed) == {True}
    assert scalars[0]["train/loss_step"]


@needs_cuda
@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["model._target_=tests.test_cuda_graph.WaitingMLP"], "a step cannot be captured"),
        (
            [
                *("scheduler=step", "~scheduler.step_size", "~scheduler.gamma"),
                "scheduler._target_=tests.test_cuda_graph.cycle_momentum",
            ],
            "a hyperparameter other than lr has changed",
        ),
        (["+callbacks.hook._target_=tests.test_multi_step.StepHook"], "single steps"),
    ],
)
def test_what_a_graph_does_not_support_is_refused(compose_small: Compose, overrides: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=f"cuda_graph=true: {problem}.* Type cuda_graph=false"):
        train(compose_small("run", *CUDA, "cuda_graph=true", "test=true", *overrides))


@pytest.mark.parametrize(("has_cuda", "trainer"), [(True, "cpu"), (False, "auto")])
def test_graph_without_a_cuda_device_is_refused(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, has_cuda: bool, trainer: str
) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: has_cuda)
    cfg = compose_small("run", "cuda_graph=true", f"trainer={trainer}")
    with pytest.raises(UserError, match=r"cuda_graph=true: needs a CUDA device. Type cuda_graph=false"):
        train(cfg)
    assert not Path(cfg.run_dir).exists()


def test_graph_of_a_single_step_is_refused(compose_small: Compose) -> None:
    cfg = compose_small("run", "cuda_graph=true", "steps_per_execution=1")
    trainer: Any = SimpleNamespace(callbacks=[], world_size=1)
    datamodule = build_datamodule(cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    with pytest.raises(UserError, match="cuda_graph=true: single steps"):
        choose_steps(cfg, trainer, datamodule)
    cfg.steps_per_execution = 2
    choose_steps(cfg, trainer, datamodule)
    classifier = build_classifier(cfg, datamodule)
    assert isinstance(classifier, MultiStepClassifier)
    assert classifier.cuda_graph
