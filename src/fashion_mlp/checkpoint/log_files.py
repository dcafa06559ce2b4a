"""The charts of an interrupted run, taken back to the checkpoint that it goes on from: no point twice, none missing."""

import csv
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor

log = logging.getLogger(__name__)

# The suffix is set in `conf/logger/tensorboard.yaml`: files of others in the same directory are never changed.
EVENT_FILES = "events.out.tfevents.*.fashion-mlp"


def flush_loggers(loggers: Iterable[Logger]) -> dict[str, int]:
    """Have the loggers write what they hold back, TensorBoard's onto the disk, should the power fail.

    Returns:
        The bytes of each of TensorBoard's files, by name.
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


def rewind_logs(loggers: Iterable[Logger], run_dir: Path, sizes: Mapping[str, int], step: int) -> None:
    """Drop what a run has logged after a checkpoint. Loggers that write outside of its directory are left alone.

    Args:
        loggers: of the run, before they log anything.
        run_dir: the directory of the run, without symbolic links.
        sizes: what `flush_loggers` returned for the checkpoint; empty without a checkpoint.
        step: the optimizer step of the checkpoint, or 0.
    """
    for logger in loggers:
        if logger.log_dir is None or not Path(logger.log_dir).resolve().is_relative_to(run_dir):
            continue
        if isinstance(logger, TensorBoardLogger):
            _truncate(Path(logger.log_dir), sizes)
        elif isinstance(logger, CSVLogger):
            _rewrite_csv(logger, step)


def _truncate(folder: Path, sizes: Mapping[str, int]) -> None:
    for path in folder.glob(EVENT_FILES):
        if path.name not in sizes:
            path.unlink()
    for name, size in sizes.items():
        path = folder / Path(name).name  # whatever a checkpoint says, nothing elsewhere is cut
        if path.is_file() and path.stat().st_size >= size:
            os.truncate(path, size)
        else:
            log.warning(f"{path}: cut short or gone; the charts lack what it held, the training does not")


def _rewrite_csv(logger: CSVLogger, step: int) -> None:
    path = Path(logger.log_dir) / "metrics.csv"
    before = path.with_suffix(".before")  # what was there, until all of it is written again
    if not before.exists():
        if not path.is_file():
            return
        path.rename(before)
    path.unlink(missing_ok=True)
    with before.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        values: dict[str, float | Tensor] = {name: float(text) for name, text in row.items() if name != "step" and text}
        if int(row["step"]) <= step and not any(name.startswith("test/") for name in values):
            logger.log_metrics(values, int(row["step"]))
    logger.save()
    before.unlink()
