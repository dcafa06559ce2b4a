"""The metrics that compare checkpoints, epochs and runs. Importing the module does not import torch."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from inspect import signature
from pkgutil import resolve_name
from typing import Any, Literal

from fashion_mlp.runtime.errors import UserError

# Metrics that `fashion_mlp.metrics` computes for each split and logs as `<split>/<name>`, with their titles in charts
# and tables. The config group `metrics` adds others.
METRICS = {"loss": "loss", "acc": "accuracy", "acc_macro": "macro accuracy", "f1_macro": "macro F1"}

# The objective of conf/train.yaml, and the one that replaces it without validation images.
DEFAULT_OBJECTIVE, TRAINING_OBJECTIVE = "val/acc", "train/loss"


def monitored_metrics(custom: Iterable[str]) -> list[str]:
    """Return the names of the metrics that are logged after each epoch.

    Args:
        custom: the names of the metrics that the config group `metrics` adds.
    """
    return [f"{split}/{name}" for split in ("val", "train") for name in (*METRICS, *custom)]


def metric_direction(name: str) -> Literal["min", "max"] | None:
    """Return "max" if a higher value of a metric is better, "min" if its name ends in "loss" or "error".

    Return None for a name that is not one of the metrics of a split, such as `gradient_norm`.
    """
    if not name.startswith(("train/", "val/", "test/")):
        return None
    return "min" if name.endswith(("loss", "error")) else "max"


def objective_value(metrics: Mapping[str, Any]) -> float:
    """Return the value of the metric that a run is judged by; the entry "objective" is its name.

    Raises:
        UserError: the run ended before the metric was measured.
    """
    name = metrics["objective"]
    if name not in metrics:
        remedy = "Raise trainer.max_time or trainer.max_steps, or lower trainer.check_val_every_n_epoch"
        raise UserError(f"objective={name}: training ended before its first value. {remedy}")
    return float(metrics[name])


def monitor_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a callback that follow from its monitored metric and are not set.

    The default `mode` of Lightning is "min" for every metric. Its callbacks may run after a validation within an
    epoch, when `train/*` still belong to the previous epoch.

    Args:
        config: the callback's section of the configuration.
    """
    if "monitor" not in config:
        return {}
    monitor = str(config["monitor"])
    direction = metric_direction(monitor)
    arguments: dict[str, Any] = {"mode": direction} if direction else {}
    if monitor.startswith("train/"):
        arguments |= {"check_on_train_epoch_end": True, "save_on_train_epoch_end": True}
    accepted: Mapping[str, Any] = {}
    with suppress(ImportError, AttributeError, TypeError, ValueError):  # reported when the callback is built
        accepted = signature(resolve_name(str(config["_target_"]))).parameters
    return {name: value for name, value in arguments.items() if name in accepted and config.get(name) is None}
