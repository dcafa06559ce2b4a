"""The checkpoint that is tested is the best one, whichever arguments of Lightning's callbacks are set."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from fashion_mlp.callbacks import BestCheckpoint
from fashion_mlp.metrics import EpochMetrics
from fashion_mlp.training import train
from tests.conftest import Compose

ACCURACIES = (0.2, 0.6, 0.5, 0.9, 0.4)
LOSSES = (5.0, 2.0, 1.0, 3.0, 4.0)
EPOCHS = ("trainer.max_epochs=5", "logger=none")
LIGHTNING = "_target_:lightning.pytorch.callbacks"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets what each epoch measures: `measured("val", acc=..., loss=...)`."""
    compute = EpochMetrics.compute_and_reset

    def measure(stage: str, **values: Sequence[float]) -> None:
        remaining = {f"{stage}/{name}": iter(numbers) for name, numbers in values.items()}

        def scripted(self: EpochMetrics) -> dict[str, torch.Tensor]:
            return {
                name: torch.tensor(next(remaining[name])) if name in remaining else value
                for name, value in compute(self).items()
            }

        monkeypatch.setattr(EpochMetrics, "compute_and_reset", scripted)

    return measure


def read_metrics(cfg: DictConfig) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(Path(cfg.run_dir, "metrics.json").read_text())
    return metrics


def epoch_of(path: Path) -> int:
    """Return the epoch of a checkpoint, counted from 1."""
    return int(torch.load(path, weights_only=True)["epoch"]) + 1


@pytest.mark.parametrize(("save_top_k", "epochs"), [(3, [2, 3, 4]), (-1, [1, 2, 3, 4, 5])])
def test_several_are_kept_under_names_of_their_own(
    compose_small: Compose, measured: Callable[..., None], save_top_k: int, epochs: list[int]
) -> None:
    measured("val", acc=ACCURACIES)
    cfg = compose_small("run", *EPOCHS, f"+callbacks.best_checkpoint.save_top_k={save_top_k}")
    objective = train(cfg)
    folder = Path(cfg.run_dir, "checkpoints")
    names = [f"best-epoch{epoch}-step{10 * epoch}.ckpt" for epoch in epochs]
    assert {path.name for path in folder.glob("best*")} == {"best.ckpt", *names}
    assert [epoch_of(folder / name) for name in names] == epochs
    assert epoch_of(folder / "best.ckpt") == 4
    assert objective == pytest.approx(0.9)
    assert (read_metrics(cfg)["epoch"], read_metrics(cfg)["val/acc"]) == (4, 0.9)


def test_without_hard_links_the_best_is_copied(
    compose_small: Compose, measured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: str) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    measured("val", acc=ACCURACIES)
    cfg = compose_small("run", *EPOCHS, "+callbacks.best_checkpoint.save_top_k=2", "test=false")
    train(cfg)
    assert epoch_of(Path(cfg.run_dir, "checkpoints/best.ckpt")) == 4


@pytest.mark.parametrize(
    ("monitor", "epoch"), [("val/acc", 4), ("val/loss", 3)], ids=lambda value: str(value).replace("/", "_")
)
def test_the_direction_follows_from_the_metric(
    compose_small: Compose, measured: Callable[..., None], monitor: str, epoch: int
) -> None:
    measured("val", acc=ACCURACIES, loss=LOSSES)
    cfg = compose_small("run", *EPOCHS, f"callbacks.best_checkpoint.monitor={monitor}")
    train(cfg)
    assert read_metrics(cfg)["epoch"] == epoch


@pytest.mark.parametrize(
    "validation", ["trainer.val_check_interval=0.5", "trainer.check_val_every_n_epoch=2", "data.val_size=0"]
)
def test_a_training_metric_is_that_of_the_same_epoch(
    compose_small: Compose, measured: Callable[..., None], validation: str
) -> None:
    measured("train", loss=LOSSES)
    cfg = compose_small("run", *EPOCHS, "callbacks.best_checkpoint.monitor=train/loss", validation)
    train(cfg)
    assert (read_metrics(cfg)["epoch"], read_metrics(cfg)["train/loss"]) == (3, 1.0)


@pytest.mark.parametrize(
    ("monitor", "epochs"), [("val/acc", 3), ("val/loss", 4)], ids=lambda value: str(value).replace("/", "_")
)
def test_training_stops_early_when_the_metric_gets_worse(
    compose_small: Compose, measured: Callable[..., None], monitor: str, epochs: int
) -> None:
    measured("val", acc=ACCURACIES, loss=LOSSES)
    early = f"+callbacks.early={{{LIGHTNING}.EarlyStopping,monitor:{monitor},patience:1}}"
    cfg = compose_small("run", *EPOCHS, early, "test=false")
    train(cfg)
    assert read_metrics(cfg)["epochs"] == epochs


@pytest.mark.parametrize("validation", ["trainer.val_check_interval=0.5", "trainer.check_val_every_n_epoch=2"])
def test_training_stops_early_by_each_epoch_of_training(
    compose_small: Compose, measured: Callable[..., None], validation: str
) -> None:
    measured("train", loss=(1.0, 2.0, 3.0, 4.0, 5.0))
    early = f"+callbacks.early={{{LIGHTNING}.EarlyStopping,monitor:train/loss,patience:2}}"
    cfg = compose_small("run", *EPOCHS, early, validation, "test=false")
    train(cfg)
    assert read_metrics(cfg)["epochs"] == 3


def test_a_checkpoint_that_no_metric_chose_is_not_tested(compose_small: Compose) -> None:
    periodic = f"+callbacks.periodic={{{LIGHTNING}.ModelCheckpoint,every_n_epochs:2,save_top_k:-1}}"
    cfg = compose_small("run", *EPOCHS, periodic, "data.val_size=0")
    train(cfg)
    assert (read_metrics(cfg)["checkpoint"], read_metrics(cfg)["epoch"]) == ("checkpoints/last.ckpt", 5)
    assert {path.name for path in Path(cfg.run_dir, "checkpoints").glob("epoch*")} == {
        "epoch=1-step=24.ckpt",
        "epoch=3-step=48.ckpt",
    }


def test_a_checkpoint_within_an_epoch_is_named_by_its_own_step(compose_small: Compose) -> None:
    periodic = f"+callbacks.periodic={{{LIGHTNING}.ModelCheckpoint,every_n_train_steps:4,save_top_k:-1}}"
    cfg = compose_small("run", *EPOCHS, periodic, "trainer.max_epochs=2", "test=false")
    train(cfg)
    names = {path.name for path in Path(cfg.run_dir, "checkpoints").glob("epoch*")}
    assert names == {f"epoch={(step - 1) // 10}-step={step}.ckpt" for step in (4, 8, 12, 16, 20)}


def test_the_link_needs_a_name_that_is_always_the_same() -> None:
    assert BestCheckpoint(filename="best", save_top_k=3, monitor="val/acc").has_link
    assert not BestCheckpoint(filename="{epoch}", save_top_k=3, monitor="val/acc").has_link
    assert not BestCheckpoint(filename="best", monitor="val/acc").has_link
