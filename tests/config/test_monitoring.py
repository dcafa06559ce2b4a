"""Whether more or less of a metric is better is decided in one place."""

from typing import Any

import pytest

from fashion_mlp.config.monitoring import MONITORED, OBJECTIVES, metric_direction, monitor_arguments

LIGHTNING = "lightning.pytorch.callbacks"


def test_every_metric_that_is_logged_has_a_direction() -> None:
    directions = {name: metric_direction(name) for name in MONITORED}
    assert directions == {"val/acc": "max", "val/loss": "min", "train/acc": "max", "train/loss": "min"}
    assert set(OBJECTIVES) <= set(MONITORED)
    assert metric_direction("gradient_norm") is None


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val/acc"}, {"mode": "max"}),
        ({"_target_": f"{LIGHTNING}.ModelCheckpoint", "monitor": "val/loss"}, {"mode": "min"}),
        ({"_target_": "fashion_mlp.callbacks.BestCheckpoint", "monitor": "val/acc"}, {"mode": "max"}),
        ({"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val/acc", "mode": "min"}, {}),
        ({"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "mine"}, {}),
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
def test_a_callback_gets_what_follows_from_its_metric(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert monitor_arguments(config) == expected
