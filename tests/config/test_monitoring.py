"""The direction of each metric, and the arguments of callbacks that follow from it."""

from typing import Any

import pytest

from fashion_mlp.config.monitoring import MONITORED, OBJECTIVES, get_objective, metric_direction, monitor_arguments

LIGHTNING = "lightning.pytorch.callbacks"


def test_each_monitored_metric_has_a_direction() -> None:
    directions = {name: metric_direction(name) for name in MONITORED}
    assert directions == {"val/acc": "max", "val/loss": "min", "train/acc": "max", "train/loss": "min"}
    assert set(OBJECTIVES) <= set(MONITORED)
    assert metric_direction("gradient_norm") is None


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val/acc"}, {"mode": "max"}),
        ({"_target_": f"{LIGHTNING}.ModelCheckpoint", "monitor": "val/loss"}, {"mode": "min"}),
        ({"_target_": "fashion_mlp.callbacks.best_checkpoint.BestCheckpoint", "monitor": "val/acc"}, {"mode": "max"}),
        ({"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val/acc", "mode": "min"}, {}),
        ({"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "mine"}, {}),
        ({"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val/loss", "mode": None}, {"mode": "min"}),
        (
            {"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "train/loss"},
            {"mode": "min", "check_on_train_epoch_end": True},
        ),
        (
            {"_target_": f"{LIGHTNING}.ModelCheckpoint", "monitor": "train/acc"},
            {"mode": "max", "save_on_train_epoch_end": True},
        ),
        ({"_target_": "fashion_mlp.schedulers.plateau", "monitor": "val/acc"}, {}),
        ({"_target_": "nowhere.Mine", "monitor": "val/acc"}, {}),
        ({"_target_": f"{LIGHTNING}.ModelCheckpoint"}, {}),
    ],
)
def test_monitor_arguments_follow_from_the_metric(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert monitor_arguments(config) == expected


def test_the_objective_is_a_validation_metric_if_there_is_one() -> None:
    assert get_objective(["test/acc", "train/loss", "val/acc"]) == "val/acc"
    assert get_objective(["test/acc", "train/loss"]) == "train/loss"
    assert get_objective(["train/loss"], has_validation=True) == "val/acc"
