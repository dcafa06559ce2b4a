"""The schema of callbacks: of this project's, and of those of Lightning whose arguments could choose wrong weights."""

import re
from collections.abc import Iterator
from math import lcm
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import ConfigDict

from fashion_mlp.config.fields import Count, Expected, Float, Positive, Section, Text, matches
from fashion_mlp.config.messages import did_you_mean, format_value
from fashion_mlp.config.monitoring import MONITORED, metric_direction
from fashion_mlp.config.paths import find_obstacle

# Endings of the files that figures are saved as.
FIGURE_SUFFIXES = (".jpg", ".pdf", ".png", ".svg", ".webp")
# Names of the files that `TrainingStateCheckpoint` writes.
RESERVED = ("last", "new", "previous")
USE_EMA = "use callbacks.ema.decay=0.999"
# Callbacks of Lightning that do not work here, or with which a resumed run would differ, with a remedy.
UNSUPPORTED = {
    "BackboneFinetuning": "the model has no backbone; remove it",
    "BatchSizeFinder": "the run would keep its first batch size; set data.batch_size",
    "EMAWeightAveraging": f"checkpoints would not contain the average; {USE_EMA}",
    "LearningRateFinder": "the run would keep its first learning rate; compare some with -m optimizer.lr=1e-4,1e-3",
    "LearningRateMonitor": "it logs twice when a run is resumed; remove it, since lr is always logged",
    "ModelPruning": "the masks are lost when a run is resumed; remove it",
    "OnExceptionCheckpoint": "a new run would start from its file; remove it, since last.ckpt is always saved",
    "SpikeDetection": "its state cannot be restored; remove it, since callbacks.terminate_on_nan checks each step",
    "StochasticWeightAveraging": f"the average is lost when a run is resumed; {USE_EMA}",
    "WeightAveraging": f"checkpoints would not contain the average; {USE_EMA}",
}
Figure = Annotated[
    str,
    matches(rf".+({'|'.join(map(re.escape, FIGURE_SUFFIXES))})"),
    Expected(f"the path of a file that ends in {', '.join(FIGURE_SUFFIXES)}"),
]


class EMAConfig(Section):
    """Arguments of `fashion_mlp.callbacks.ema`; a decay of None disables it."""

    targets = ("fashion_mlp.callbacks.ema",)

    decay: Annotated[Float, Gt(0), Lt(1)] | None


class GradientNormConfig(Section):
    """Arguments of `fashion_mlp.callbacks.gradient_norm`; None disables it."""

    targets = ("fashion_mlp.callbacks.gradient_norm",)

    every_n_steps: Positive | None


class WeightHistogramsConfig(Section):
    """Arguments of `fashion_mlp.callbacks.WeightHistograms`; None disables it."""

    targets = ("fashion_mlp.callbacks.WeightHistograms",)

    every_n_epochs: Positive | None


class ProgressBarConfig(Section):
    """Arguments of `fashion_mlp.callbacks.progress_bar`."""

    targets = ("fashion_mlp.callbacks.progress_bar",)

    refresh_rate: Positive


class LearningCurvesConfig(Section):
    """Arguments of `fashion_mlp.callbacks.LearningCurves`."""

    targets = ("fashion_mlp.callbacks.LearningCurves",)

    path: Figure


class PredictionGridConfig(Section):
    """Arguments of `fashion_mlp.callbacks.PredictionGrid`."""

    targets = ("fashion_mlp.callbacks.PredictionGrid",)

    path: Figure
    count: Positive


class EvaluationFiguresConfig(Section):
    """Arguments of `fashion_mlp.callbacks.EvaluationFigures`."""

    targets = ("fashion_mlp.callbacks.EvaluationFigures",)

    folder: Text
    every_n_epochs: Positive
    count: Positive


class TrainingStateCheckpointConfig(Section):
    """Arguments of `fashion_mlp.checkpoint.training_state.TrainingStateCheckpoint`."""

    targets = ("fashion_mlp.checkpoint.training_state.TrainingStateCheckpoint",)

    dirpath: Annotated[str, Expected("${run_dir}/checkpoints, where resume= looks for it")]
    every_n_steps: Positive | None
    every_n_seconds: Annotated[Float, Gt(0)] | None


class MonitorConfig(Section):
    """Arguments that all callbacks with a monitored metric share; other arguments are accepted."""

    model_config = ConfigDict(strict=True, extra="allow")

    monitor: Text | None = None
    mode: Literal["min", "max"] | None = None

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        monitor, direction = self.monitor, metric_direction(str(self.monitor))
        if monitor is None or "${" in monitor:
            return
        if monitor.startswith("test"):
            yield f"monitor={monitor}: test images must not choose anything. Use {monitor.replace('test', 'val')}"
        elif monitor not in MONITORED:
            yield f"monitor={monitor}: not logged{did_you_mean(monitor, MONITORED)}"
        elif self.mode not in (None, direction):
            better = "higher" if direction == "max" else "lower"
            yield f"mode={self.mode}: {better} is better in {monitor}. Remove it"


class EarlyStoppingConfig(MonitorConfig):
    """Arguments of `lightning.pytorch.callbacks.EarlyStopping`."""

    targets = ("lightning.pytorch.callbacks.EarlyStopping",)

    patience: Count = 3
    min_delta: Float = 0.0


class CheckpointCallbackConfig(MonitorConfig):
    """Arguments of Lightning's `ModelCheckpoint`, and of `fashion_mlp.callbacks.BestCheckpoint`."""

    targets = ("lightning.pytorch.callbacks.ModelCheckpoint", "fashion_mlp.callbacks.BestCheckpoint")

    dirpath: Text | None = None
    filename: Text | None = None
    save_top_k: Annotated[int, Ge(-1)] = 1
    save_last: Annotated[Literal[False] | None, Expected("false, since callbacks.last_checkpoint writes last.ckpt")] = (
        None
    )
    save_on_exception: Annotated[Literal[False], Expected("false, since last.ckpt is always saved")] = False
    every_n_epochs: Positive | None = None
    train_time_interval: Annotated[
        dict[str, Any] | None, Expected("an object, such as {_target_:datetime.timedelta,minutes:5}")
    ] = None

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        yield from super().conflicts(multirun=multirun)
        name = str(self.filename)
        if name in RESERVED:
            yield f"filename={name}: reserved for the state that resume= reads. Use another name, such as best"
        if Path(name).is_absolute() or ".." in Path(name).parts or "${run_dir}" in name:
            yield f"filename={name}: not relative to dirpath. Set dirpath"
        yield from _template_problems(name)
        if multirun and self.dirpath is not None and "${" not in self.dirpath:
            yield f"dirpath={self.dirpath}: jobs would overwrite each other's files. Remove it"


def _template_problems(filename: str) -> Iterator[str]:
    """Yield what is wrong with a file name in which fields such as {epoch} or {val/acc:.3f} are replaced."""
    known = ("epoch", "step", *MONITORED)
    try:
        fields = [(name, spec or "") for _, name, spec, _ in Formatter().parse(filename) if name is not None]
        for name, spec in fields:
            format(1 if name in ("epoch", "step") else 0.5, spec)
    except ValueError as error:
        yield f"filename={filename}: not a valid template ({error}). Example: '{{epoch}}-{{val/acc:.3f}}'"
        return
    for name, _ in fields:
        if name not in known:
            yield f"filename={filename}: {name} is not logged{did_you_mean(name, known)}"


def callback_conflicts(
    key: str,
    part: dict[str, Any],
    run_dir: str,
    trainer: dict[str, Any],
    callbacks: dict[str, Any],
    *,
    has_validation: bool,
) -> Iterator[str]:
    """Yield a line for each argument of a callback that does not go with the rest of the configuration.

    Args:
        key: of the callback, `callbacks.NAME`.
        part: its configuration.
        run_dir: the directory of the run.
        trainer: the arguments of the Trainer.
        callbacks: the configurations of all callbacks, by name.
        has_validation: whether images are held out for validation.
    """
    module, _, kind = str(part.get("_target_")).rpartition(".")
    monitor = str(part.get("monitor"))
    if module.startswith("lightning.") and kind in UNSUPPORTED:
        yield f"{key}._target_={module}.{kind}: {UNSUPPORTED[kind]}"
    if kind.endswith("ProgressBar") and key != "callbacks.progress_bar" and callbacks.get("progress_bar"):
        yield f"{key}: a second progress bar. Type ~callbacks.progress_bar"
    if kind == "TrainingStateCheckpoint" and part["dirpath"] not in (
        "${run_dir}/checkpoints",
        f"{run_dir}/checkpoints",
    ):
        yield f"{key}.dirpath={part['dirpath']}: resume= reads ${{run_dir}}/checkpoints. Remove it"
    if monitor.startswith("val/") and not has_validation and key != "callbacks.best_checkpoint":  # left out then
        yield f"{key}.monitor={monitor}: no validation with data.val_size=0. Use train/loss"
    is_once_an_epoch = trainer.get("val_check_interval") in (None, 1.0)
    is_fresh = monitor.startswith("train/") or (trainer.get("check_val_every_n_epoch") == 1 and is_once_an_epoch)
    for name in ("check_on_train_epoch_end", "save_on_train_epoch_end"):
        value = part.get(name)
        if monitor in MONITORED and ((monitor.startswith("train/") and value is False) or (value and not is_fresh)):
            yield f"{key}.{name}={format_value(value)}: {monitor} would be that of an earlier epoch. Remove it"
    for name in ("every_n_train_steps", "train_time_interval"):
        if monitor in MONITORED and part.get(name):
            yield f"{key}.{name}={format_value(part[name])}: {monitor} would be that of earlier weights. Remove it"
    if kind in ("BestCheckpoint", "ModelCheckpoint"):
        yield from _checkpoint_conflicts(key, part, run_dir, trainer, is_once_an_epoch=is_once_an_epoch)


def _checkpoint_conflicts(
    key: str, part: dict[str, Any], run_dir: str, trainer: dict[str, Any], *, is_once_an_epoch: bool
) -> Iterator[str]:
    name, dirpath = str(part.get("filename")), part.get("dirpath")
    if part.get("monitor") is None and key == "callbacks.best_checkpoint":
        yield f"{key}.monitor=null: no best without a metric. To test the last weights type ~{key}"
    is_unique = "{" not in name or "{step" in name or ("{epoch" in name and is_once_an_epoch)
    if part.get("save_top_k", 1) not in (0, 1) and part.get("enable_version_counter") is False and not is_unique:
        yield f"{key}.filename={name}: several checkpoints could have the same name. Add {{step}}"
    epochs, every = trainer.get("max_epochs") or 0, part.get("every_n_epochs")
    if every and 0 < epochs < lcm(every, trainer.get("check_val_every_n_epoch") or 1):
        yield f"{key}.every_n_epochs={every}: no checkpoint in {epochs} epochs. Expected at most {epochs}"
    if dirpath is not None and "${" not in dirpath and not dirpath.startswith(run_dir):
        if obstacle := find_obstacle(Path(dirpath)):
            yield f"{key}.dirpath={dirpath}: {obstacle}"
        elif (path := Path(dirpath, f"{name}.ckpt")).exists():
            yield f"{key}.dirpath={dirpath}: {path} exists and would be overwritten. Choose another directory"
