"""Tests that the best checkpoint is saved and tested with any arguments of Lightning's callbacks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from fashion_mlp.callbacks.best_checkpoint import BestCheckpoint
from fashion_mlp.metrics import EpochMetrics
from fashion_mlp.training import train
from tests.conftest import Compose, Run

ACCURACIES = (0.2, 0.6, 0.5, 0.9, 0.4)
LOSSES = (5.0, 2.0, 1.0, 3.0, 4.0)
EPOCHS = "trainer.max_epochs=5"
LIGHTNING = "_target_:lightning.pytorch.callbacks"


SetMetrics = Callable[..., None]


@pytest.fixture
def set_metrics(monkeypatch: pytest.MonkeyPatch) -> SetMetrics:
    """Return a function that replaces the metrics of each epoch: `set_metrics("val", acc=..., loss=...)`."""
    compute_and_reset = EpochMetrics.compute_and_reset

    def replace(stage: str, **values: Sequence[float]) -> None:
        remaining = {f"{stage}/{name}": iter(numbers) for name, numbers in values.items()}

        def return_values(self: EpochMetrics) -> dict[str, torch.Tensor]:
            return {
                name: torch.tensor(next(remaining[name])) if name in remaining else value
                for name, value in compute_and_reset(self).items()
            }

        monkeypatch.setattr(EpochMetrics, "compute_and_reset", return_values)

    return replace


def epoch_of(run: Run, checkpoint: str) -> int:
    """Return the epoch of a checkpoint, counted from 1."""
    return int(run.checkpoint(checkpoint)["epoch"]) + 1


@pytest.mark.parametrize(("save_top_k", "epochs"), [(3, [2, 3, 4]), (-1, [1, 2, 3, 4, 5])])
def test_several_best_checkpoints_have_different_names(
    compose_small: Compose, set_metrics: SetMetrics, save_top_k: int, epochs: list[int]
) -> None:
    set_metrics("val", acc=ACCURACIES)
    cfg = compose_small("run", EPOCHS, f"+callbacks.best_checkpoint.save_top_k={save_top_k}", "test=true")
    objective = train(cfg)
    run = Run(cfg.run_dir)
    names = [f"best-epoch{epoch}-step{10 * epoch}" for epoch in epochs]
    assert {path.stem for path in (run.dir / "checkpoints").glob("best*.ckpt")} == {"best", *names}
    assert [epoch_of(run, name) for name in names] == epochs
    assert epoch_of(run, "best") == 4
    assert objective == pytest.approx(0.9)
    assert (run.metrics["epoch"], run.metrics["val/acc"]) == (4, 0.9)


@pytest.mark.parametrize(
    ("monitor", "epoch"), [("val/acc", 4), ("val/loss", 3)], ids=lambda value: str(value).replace("/", "_")
)
def test_monitored_loss_is_minimized_and_accuracy_maximized(
    compose_small: Compose, set_metrics: SetMetrics, monitor: str, epoch: int
) -> None:
    set_metrics("val", acc=ACCURACIES, loss=LOSSES)
    cfg = compose_small("run", EPOCHS, f"callbacks.best_checkpoint.monitor={monitor}")
    train(cfg)
    assert Run(cfg.run_dir).metrics["epoch"] == epoch


@pytest.mark.parametrize(
    "validation", ["trainer.val_check_interval=0.5", "trainer.check_val_every_n_epoch=2", "data.val_size=0"]
)
def test_monitored_training_metric_is_of_the_epoch_of_the_checkpoint(
    compose_small: Compose, set_metrics: SetMetrics, validation: str
) -> None:
    set_metrics("train", loss=LOSSES)
    cfg = compose_small("run", EPOCHS, "callbacks.best_checkpoint.monitor=train/loss", validation)
    train(cfg)
    metrics = Run(cfg.run_dir).metrics
    assert (metrics["epoch"], metrics["train/loss"]) == (3, 1.0)


@pytest.mark.parametrize(
    ("monitor", "epochs"), [("val/acc", 3), ("val/loss", 4)], ids=lambda value: str(value).replace("/", "_")
)
def test_early_stopping_on_a_validation_metric(
    compose_small: Compose, set_metrics: SetMetrics, monitor: str, epochs: int
) -> None:
    set_metrics("val", acc=ACCURACIES, loss=LOSSES)
    early_stopping = f"+callbacks.early={{{LIGHTNING}.EarlyStopping,monitor:{monitor},patience:1}}"
    cfg = compose_small("run", EPOCHS, early_stopping)
    train(cfg)
    assert Run(cfg.run_dir).metrics["epochs"] == epochs


@pytest.mark.parametrize("validation", ["trainer.val_check_interval=0.5", "trainer.check_val_every_n_epoch=2"])
def test_early_stopping_on_a_training_metric_counts_each_epoch(
    compose_small: Compose, set_metrics: SetMetrics, validation: str
) -> None:
    set_metrics("train", loss=(1.0, 2.0, 3.0, 4.0, 5.0))
    early_stopping = f"+callbacks.early={{{LIGHTNING}.EarlyStopping,monitor:train/loss,patience:2}}"
    cfg = compose_small("run", EPOCHS, early_stopping, validation)
    train(cfg)
    assert Run(cfg.run_dir).metrics["epochs"] == 3


def test_periodic_checkpoint_is_not_tested(compose_small: Compose) -> None:
    periodic = f"+callbacks.periodic={{{LIGHTNING}.ModelCheckpoint,every_n_epochs:2,save_top_k:-1}}"
    cfg = compose_small("run", EPOCHS, periodic, "data.val_size=0", "test=true")
    train(cfg)
    run = Run(cfg.run_dir)
    assert (run.metrics["checkpoint"], run.metrics["epoch"]) == ("checkpoints/last.ckpt", 5)
    assert {path.name for path in (run.dir / "checkpoints").glob("epoch*")} == {
        "epoch=1-step=24.ckpt",
        "epoch=3-step=48.ckpt",
    }


def test_checkpoint_within_an_epoch_is_named_by_its_step(compose_small: Compose) -> None:
    periodic = f"+callbacks.periodic={{{LIGHTNING}.ModelCheckpoint,every_n_train_steps:4,save_top_k:-1}}"
    cfg = compose_small("run", EPOCHS, periodic, "trainer.max_epochs=2")
    train(cfg)
    names = {path.name for path in Path(cfg.run_dir, "checkpoints").glob("epoch*")}
    assert names == {f"epoch={(step - 1) // 10}-step={step}.ckpt" for step in (4, 8, 12, 16, 20)}


def test_best_checkpoint_is_copied_if_the_file_name_is_constant() -> None:
    assert BestCheckpoint(filename="best", save_top_k=3, monitor="val/acc").keeps_several
    assert not BestCheckpoint(filename="{epoch}", save_top_k=3, monitor="val/acc").keeps_several
    assert not BestCheckpoint(filename="best", monitor="val/acc").keeps_several
