"""Arguments of callbacks that cannot work in a run, or that would silently be ignored or choose the wrong weights."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config import FIGURE_SUFFIXES
from fashion_mlp.monitoring import MONITORED, metric_direction
from fashion_mlp.suggestions import nearest, shown

RESERVED_FILENAMES = ("last", "new", "previous")
"""Names of the files that `LastCheckpoint` writes."""
STATE_DIR = "${run_dir}/checkpoints"
FIGURES = ("callbacks.curves.path", "callbacks.prediction_picture.path")
UNSUPPORTED = {
    "BackboneFinetuning": "this project's models have no backbone; remove it",
    "BatchSizeFinder": "the run would keep its first batch size; set data.batch_size",
    "EMAWeightAveraging": "checkpoints would not contain the average; use callbacks.ema.decay=0.999",
    "LearningRateFinder": "the run would keep its first learning rate; compare some with -m optimizer.lr=1e-4,1e-3",
    "LearningRateMonitor": "it logs twice when a run is resumed; remove it, since lr is always logged",
    "ModelPruning": "the masks are lost when a run is resumed; remove it",
    "OnExceptionCheckpoint": "a new run would continue from its file; remove it, since last.ckpt is always saved",
    "SpikeDetection": "its state cannot be restored; remove it, since callbacks.non_finite_loss checks each step",
    "StochasticWeightAveraging": "the average is lost when a run is resumed; use callbacks.ema.decay=0.999",
    "WeightAveraging": "checkpoints would not contain the average; use callbacks.ema.decay=0.999",
}
"""Callbacks of Lightning that do not work here, or with which a resumed run would differ, and what to do instead."""
NEED_LOGGER = ("DeviceStatsMonitor", "ThroughputMonitor")
CHECKPOINTS = ("BestCheckpoint", "ModelCheckpoint")


class Count(NamedTuple):
    """What an integer among the arguments of a callback may be; null, if it is optional."""

    at_least: int
    optional: bool = False

    def allows(self, value: object) -> bool:
        """Return whether a value is such an integer, in 64 bits."""
        return self.optional if value is None else type(value) is int and self.at_least <= value < 2**63

    def __str__(self) -> str:
        return f"an integer of at least {self.at_least}" + (", or null" if self.optional else "")


COUNTS: Mapping[str, Count] = {
    "callbacks.evaluation_pictures.count": Count(1),
    "callbacks.evaluation_pictures.every_n_epochs": Count(1),
    "callbacks.gradient_norm.every_n_steps": Count(1, optional=True),
    "callbacks.prediction_picture.count": Count(1),
    "callbacks.progress_bar.refresh_rate": Count(1),
    "callbacks.weight_histograms.every_n_epochs": Count(1, optional=True),
    "every_n_epochs": Count(1, optional=True),
    "every_n_train_steps": Count(0, optional=True),
    "patience": Count(0),
    "save_top_k": Count(-1),
}
"""By key, or by name in any callback. These have no schema, since `+callbacks.NAME` adds others."""
NUMBERS = ("divergence_threshold", "min_delta", "stopping_threshold")


def callback_problems(cfg: DictConfig, *, has_validation: bool, multirun: bool) -> Iterator[str]:
    """Yield a line for each argument of a callback that cannot work.

    Args:
        cfg: the configuration of a run.
        has_validation: whether images are held out to validate on.
        multirun: whether it is one of several jobs.
    """
    # As they are written: the run directory, which some of them refer to, is not known yet.
    parts: Any = OmegaConf.to_container(cfg.callbacks) or {}
    for name, part in parts.items():
        key = f"callbacks.{name}"
        if not (isinstance(part, dict) and part.get("_target_")):
            continue
        module, _, kind = str(part["_target_"]).rpartition(".")
        if module.startswith("lightning.") and kind in UNSUPPORTED:
            yield f"{key}._target_={module}.{kind}: {UNSUPPORTED[kind]}"
        if kind in NEED_LOGGER and not any((cfg.logger or {}).values()):
            yield f"{key}: logs to a logger, and there is none; choose one, such as logger=csv"
        if kind.endswith("ProgressBar") and name != "progress_bar" and cfg.callbacks.get("progress_bar"):
            yield f"{key}: a run has one progress bar; remove the other with ~callbacks.progress_bar"
        if kind == "LastCheckpoint" and part.get("dirpath") != STATE_DIR:
            yield f"{key}.dirpath={part.get('dirpath')}: resume= reads {STATE_DIR}; remove it"
        for argument, value in part.items():
            yield from _argument_problems(f"{key}.{argument}", value)
        if part.get("monitor") is not None:
            is_chosen = has_validation or name == "best_checkpoint"  # which is left out where there is no validation
            yield from _monitor_problems(key, part, cfg, has_validation=is_chosen)
        if kind in CHECKPOINTS:
            yield from _checkpoint_problems(key, part, cfg, multirun=multirun)


def _argument_problems(key: str, value: Any) -> Iterator[str]:
    name = key.rpartition(".")[2]
    count = COUNTS.get(key, COUNTS.get(name))
    is_reference = isinstance(value, str) and "${" in value
    if count is not None and not is_reference and not count.allows(value):
        yield f"{key}={shown(value)}: must be {count}"
    if name in NUMBERS and not is_reference and type(value) not in (int, float, type(None)):
        yield f"{key}={shown(value)}: must be a number"
    if name == "train_time_interval" and not isinstance(value, dict | None):
        yield f"{key}={shown(value)}: must be an object, such as {{_target_:datetime.timedelta,minutes:5}}"
    if key in FIGURES and not str(value).endswith(FIGURE_SUFFIXES):
        yield f"{key}={shown(value)}: must end in {', '.join(FIGURE_SUFFIXES)}"


def _monitor_problems(key: str, part: Mapping[str, Any], cfg: DictConfig, *, has_validation: bool) -> Iterator[str]:
    monitor = str(OmegaConf.select(cfg, f"{key}.monitor", throw_on_resolution_failure=False))
    direction = metric_direction(monitor)
    if monitor.startswith("test"):
        yield f"{key}.monitor={monitor}: test images must not choose anything; use {monitor.replace('test', 'val')}"
        return
    is_ours = str(part["_target_"]).startswith(("fashion_mlp.", "lightning."))
    if monitor not in MONITORED and (is_ours or re.match(r"(val|train)(\b|_)", monitor)):
        yield f"{key}.monitor={monitor}: is not logged{nearest(monitor, MONITORED)}"
        return
    if monitor.startswith("val/") and not has_validation:
        yield f"{key}.monitor={monitor}: there is no validation with data.val_size=0; use train/loss"
    if direction is not None and part.get("mode") not in (None, direction):
        better = "higher" if direction == "max" else "lower"
        yield f"{key}.mode={part['mode']}: {better} is better in {monitor}; remove it, or write {direction}"
    is_fresh = monitor.startswith("train/") or (cfg.trainer.check_val_every_n_epoch == 1 and _validates_once(cfg))
    for argument in ("check_on_train_epoch_end", "save_on_train_epoch_end"):
        value = part.get(argument)
        if (monitor.startswith("train/") and value is False) or (value is True and not is_fresh):
            yield f"{key}.{argument}={shown(value)}: {monitor} would be that of an earlier epoch; remove it"
    for argument in ("every_n_train_steps", "train_time_interval"):
        if part.get(argument):
            yield f"{key}.{argument}={shown(part[argument])}: {monitor} would be that of earlier weights; remove it"


def _checkpoint_problems(key: str, part: Mapping[str, Any], cfg: DictConfig, *, multirun: bool) -> Iterator[str]:
    if part.get("monitor") is None and key == "callbacks.best_checkpoint":
        yield f"{key}.monitor=null: there is no best; to test the last weights write ~{key}"
    if part.get("save_on_exception"):
        yield f"{key}.save_on_exception=true: would replace the best checkpoint; remove it, since last.ckpt is saved"
    typed = f"{key}.filename={part.get('filename')}"
    filename = str(OmegaConf.select(cfg, f"{key}.filename", throw_on_resolution_failure=False))
    if filename in RESERVED_FILENAMES:
        yield f"{typed}: reserved for the state that resume= reads. Choose another name, such as best"
    if Path(filename).is_absolute() or ".." in Path(filename).parts or "${run_dir}" in typed:
        yield f"{typed}: must be relative to {key}.dirpath; set that"
    yield from _template_problems(typed, filename)
    is_unique = "{" not in filename or "{step" in filename or ("{epoch" in filename and _validates_once(cfg))
    if part.get("save_top_k") not in (None, 0, 1) and part.get("enable_version_counter") is False and not is_unique:
        yield f"{typed}: several checkpoints could have the same name; add {{step}}"
    every, epochs = part.get("every_n_epochs"), cfg.trainer.max_epochs
    if type(every) is int and every > 0 and epochs is not None and epochs > 0:
        between = cfg.trainer.check_val_every_n_epoch or 1
        if math.lcm(every, between) > epochs:
            yield f"{key}.every_n_epochs={every}: never comes in {epochs} epochs; must be at most that"
    dirpath = part.get("dirpath")
    if isinstance(dirpath, str) and "${" not in dirpath:
        if multirun:
            yield f"{key}.dirpath={dirpath}: jobs would overwrite each other's files; remove it"
        elif cfg.resume is None and (path := Path(dirpath, f"{filename}.ckpt")).exists():
            yield f"{key}.dirpath={dirpath}: {path} exists and would be overwritten; choose another, or move it"


def _template_problems(typed: str, filename: str) -> Iterator[str]:
    """Yield what is wrong with a file name in which fields such as {epoch} or {val/acc:.3f} are replaced."""
    known = ("epoch", "step", *MONITORED)
    try:
        fields = [(name, spec or "") for _, name, spec, _ in Formatter().parse(filename) if name is not None]
        for name, spec in fields:
            format(1 if name in ("epoch", "step") else 0.5, spec)
    except ValueError as error:
        yield f"{typed}: not a valid template ({error}); write for example '{{epoch}}-{{val/acc:.3f}}'"
        return
    for name, _ in fields:
        if name not in known:
            yield f"{typed}: {name} is not logged{nearest(name, known)}"


def _validates_once(cfg: DictConfig) -> bool:
    """Return whether each validation is at the end of an epoch."""
    return cfg.trainer.val_check_interval in (None, 1.0)
