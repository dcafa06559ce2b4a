"""The metrics that compare checkpoints, epochs and runs. The module does not import torch."""

from collections.abc import Container, Mapping
from contextlib import suppress
from inspect import signature
from pkgutil import resolve_name
from typing import Any, Literal, NamedTuple


class Metric(NamedTuple):
    """A metric that is computed for each split.

    Args:
        name: the name without its split; `fashion_mlp.metrics` computes the metric and logs it as `<split>/<name>`.
        title: the name in charts and tables.
        direction: "max" if a higher value is better, "min" if a lower one is.
    """

    name: str
    title: str
    direction: Literal["min", "max"]


METRICS = (Metric("loss", "loss", "min"), Metric("acc", "accuracy", "max"))
# Metrics that are logged after each epoch.
MONITORED = tuple(f"{split}/{metric.name}" for split in ("val", "train") for metric in METRICS)
# Metrics that describe the result of a run.
EVALUATED = tuple(f"{split}/{metric.name}" for split in ("val", "test") for metric in METRICS)
# Metrics that compare runs: the first, or the second if there is no validation split.
OBJECTIVES = ("val/acc", "train/loss")


def metric_direction(name: str) -> Literal["min", "max"] | None:
    """Return "max" if a higher value of a metric is better, "min" if a lower one is, None if its name is unknown."""
    return next((metric.direction for metric in METRICS if metric.name == name.rpartition("/")[2]), None)


def get_objective(metrics: Container[str], *, has_validation: bool = False) -> str:
    """Return the metric that a run is judged by, which is never one of the test images.

    Args:
        metrics: the names of the run's metrics.
        has_validation: whether the run has images for validation; if not given, the names of the metrics show it.
    """
    return OBJECTIVES[0] if has_validation or OBJECTIVES[0] in metrics else OBJECTIVES[-1]


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
