"""The direction of each metric, and the arguments of callbacks that follow from it."""

from typing import Any

import pytest

from fashion_mlp.config.monitoring import metric_direction, monitor_arguments, monitored_metrics

LIGHTNING = "lightning.pytorch.callbacks"


def test_the_name_of_a_metric_determines_its_direction() -> None:
    directions = {name: metric_direction(name) for name in monitored_metrics(["top2_accuracy", "calibration_error"])}
    minimized = {"val/loss", "train/loss", "val/calibration_error", "train/calibration_error"}
    assert {name for name, direction in directions.items() if direction == "min"} == minimized
    assert {name for name in directions if name.startswith("val/")} - minimized == {
        *("val/acc", "val/acc_macro", "val/f1_macro", "val/top2_accuracy")
    }
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
