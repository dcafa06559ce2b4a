"""The state of a run that Lightning does not restore: random number generators and log files."""

import csv
import logging
import os
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor

log = logging.getLogger(__name__)

# The suffix, set in `conf/logger/tensorboard.yaml`, excludes files of other programs in the same directory.
EVENT_FILES = "events.out.tfevents.*.fashion-mlp"


def get_rng_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators of PyTorch for the CPU and `device`, of NumPy and of Python.

    They are plain values and tensors, which a checkpoint can contain.
    """
    numpy_state: Any = np.random.get_state()  # noqa: NPY002, the global generator, which libraries use
    kind, keys, *rest = numpy_state
    state = {"torch": torch.get_rng_state(), "numpy": (kind, keys.tolist(), *rest), "python": random.getstate()}
    if device.type in ("cuda", "mps"):
        state[device.type] = getattr(torch, device.type).get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore the states that `get_rng_state` returned; a generator that is not among them keeps its own."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
    if device.type in state:
        getattr(torch, device.type).set_rng_state(state[device.type])


def flush_loggers(loggers: Iterable[Logger]) -> dict[str, int]:
    """Write what the loggers have buffered, and synchronize TensorBoard's files with the disk.

    Returns:
        The size in bytes of each of TensorBoard's files, by name.
    """
    sizes = {}
    for logger in loggers:
        logger.save()
        if isinstance(logger, TensorBoardLogger):
            for path in Path(logger.log_dir).glob(EVENT_FILES):
                with path.open("ab") as file:
                    os.fsync(file.fileno())
                    sizes[path.name] = file.tell()
    return sizes


def rewind_logs(loggers: Iterable[Logger], run_dir: Path, checkpoint: Mapping[str, Any]) -> None:
    """Remove what a run logged to its directory after a checkpoint, so that no point is logged twice.

    Args:
        loggers: the loggers of the run, before they log anything.
        run_dir: directory of the run, without symbolic links.
        checkpoint: the checkpoint that the run resumes from; empty if the run starts again.
    """
    for logger in loggers:
        if logger.log_dir is None or not Path(logger.log_dir).resolve().is_relative_to(run_dir):
            continue
        if isinstance(logger, TensorBoardLogger):
            _truncate(Path(logger.log_dir), checkpoint.get("log_sizes", {}))
        elif isinstance(logger, CSVLogger):
            _rewrite_csv(logger, checkpoint.get("global_step", 0))


def _truncate(directory: Path, sizes: Mapping[str, int]) -> None:
    for path in directory.glob(EVENT_FILES):
        if path.name not in sizes:
            path.unlink()
    for name, size in sizes.items():
        path = directory / Path(name).name  # a forged checkpoint must not reach files elsewhere
        if path.is_file() and path.stat().st_size >= size:
            os.truncate(path, size)
        else:
            log.warning(f"{path}: truncated or missing. Its curves are lost; training is not affected")


def _rewrite_csv(logger: CSVLogger, step: int) -> None:
    path = Path(logger.log_dir) / "metrics.csv"
    backup = path.with_suffix(".before")  # kept until all rows are written
    if not backup.exists():
        if not path.is_file():
            return
        path.rename(backup)
    path.unlink(missing_ok=True)
    for row in csv.DictReader(backup.read_text().splitlines()):
        values: dict[str, float | Tensor] = {name: float(text) for name, text in row.items() if name != "step" and text}
        if int(row["step"]) <= step and not any(name.startswith("test/") for name in values):
            logger.log_metrics(values, int(row["step"]))
    logger.save()
    backup.unlink()
