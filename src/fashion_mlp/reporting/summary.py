"""The summaries of a run before and after training."""

import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from fashion_mlp.classifier import Classifier
from fashion_mlp.config.messages import format_count
from fashion_mlp.config.monitoring import METRICS
from fashion_mlp.data import ImageDataModule
from fashion_mlp.runtime.run_directory import relative_to_cwd

# Largest number of classes in a summary.
MAX_LISTED = 20
PACKAGES = ("fashion-mlp", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core")


def run_summary(
    classifier: Classifier, datamodule: ImageDataModule, trainer: Trainer, run_dir: Path, seed: int, initial: str
) -> str:
    """Return a summary of a run that starts, one line per topic.

    Args:
        classifier: the classifier.
        datamodule: the data, set up for "fit".
        trainer: the trainer.
        run_dir: the directory of the run.
        seed: the seed of the run.
        initial: description of the checkpoint that it starts from; empty without one.
    """
    sizes = {split: len(dataset) for split, dataset in datamodule.splits.items()}
    linears = [module for module in classifier.model.modules() if isinstance(module, torch.nn.Linear)]
    widths = "-".join(str(linear.in_features) for linear in linears)
    shape = f" {widths}-{linears[-1].out_features}" if linears else ""
    batches = f"{trainer.world_size} x batches" if trainer.world_size > 1 else "batches"
    if trainer.max_steps == -1 and trainer.max_epochs is not None:
        length = format_count(trainer.max_epochs, "epoch")
    else:
        length = f"at most {format_count(trainer.max_steps, 'step')}"
    lines = {
        "data": f"{datamodule.name}: {sizes['train']:,} training and {sizes['val']:,} validation images",
        "model": f"{type(classifier.model).__name__}{shape}, {num_parameters(classifier):,} parameters",
        "training": f"{_name(classifier.optimizer_factory)}, {batches} of {datamodule.batch_size}, {length}, "
        f"seed {seed}",
        "device": device_name(trainer),
        "directory": str(relative_to_cwd(run_dir)),
    }
    if datamodule.source_key:
        lines["classes"] = format_counts(datamodule.class_counts())
    if initial:
        lines["from"] = initial
    return "\n".join(f"{name:<10}{text}" for name, text in lines.items())


def format_counts(class_counts: Mapping[str, int]) -> str:
    """Return the classes and their numbers of images as text, at most `MAX_LISTED` of them."""
    names = [f"{name} {count:,}" for name, count in class_counts.items()]
    more = [f"and {len(names) - MAX_LISTED:,} more"] if len(names) > MAX_LISTED else []
    return ", ".join(names[:MAX_LISTED] + more)


def num_parameters(classifier: Classifier) -> int:
    """Return the number of weights and biases."""
    return sum(parameter.numel() for parameter in classifier.parameters())


def device_name(trainer: Trainer) -> str:
    """Return the number of devices on all machines, and their accelerator and model."""
    root = trainer.strategy.root_device
    kind = torch.cuda.get_device_name(root) if root.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{trainer.world_size} x {root.type} ({kind})"


def stop_reason(trainer: Trainer) -> str | None:
    """Return why training stopped before its last epoch; None if it did not, or if `max_steps` limited it."""
    if trainer.current_epoch == trainer.max_epochs:
        return None
    messages = [callback.stopping_reason_message for callback in trainer.early_stopping_callbacks]
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set at run time
    if any(isinstance(callback, Timer) and (callback.time_remaining() or 0) < 0 for callback in callbacks):
        messages.append("The time limit was reached.")
    return next((message.removesuffix(" Signaling Trainer to stop.") for message in messages if message), None)


def results_table(
    metrics: dict[str, Any], columns: Sequence[str], checkpoint: Path | None, run_dir: Path, loggers: Iterable[Logger]
) -> str:
    """Return a table of the results, and the command that shows the curves.

    Args:
        metrics: the content of `metrics.json`.
        columns: the names of the metrics to show, without their splits.
        checkpoint: the checkpoint that was tested; None if none was saved.
        run_dir: the directory of the run.
        loggers: the loggers of the run.
    """
    directory = relative_to_cwd(run_dir)
    logdir = directory if directory.is_absolute() else Path(*directory.parts[:1])  # the directory of all runs
    titles = [METRICS.get(name, name) for name in columns]
    widths = [max(10, len(title) + 2) for title in titles]
    rows = ["".join([" " * 12, *map(str.rjust, titles, widths)])]
    for stage, name in (("train", "training"), ("val", "validation"), ("test", "test")):
        if f"{stage}/loss" in metrics:
            values = [f"{metrics[f'{stage}/{metric}']:.4f}" for metric in columns]
            rows.append("".join([f"{name:<12}", *map(str.rjust, values, widths)]))
    if metrics["stopped_early"]:
        rows.append(f"stopped     {metrics['stopped_early']}")
    rows += [
        f"on {metrics['data']}, at epoch {metrics.get('epoch', metrics['epochs'])} of {metrics['epochs']}, "
        f"in {metrics['seconds']:.1f} s ({metrics['samples_per_second']:,.0f} samples/s)",
        f"checkpoint  {relative_to_cwd(checkpoint) if checkpoint else 'none saved'}",
    ]
    if any(isinstance(logger, TensorBoardLogger) for logger in loggers):
        rows.append(f"curves      tensorboard --logdir {shlex.quote(str(logdir))}")
    return "\n".join(rows)


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    return {"version/python": platform.python_version()} | {f"version/{name}": version(name) for name in PACKAGES}


def _name(factory: Any) -> str:
    """Return the name of what a partial constructs, with its learning rate if it has one."""
    rate = factory.keywords.get("lr")
    return factory.func.__name__ if rate is None else f"{factory.func.__name__} at {rate:g}"
