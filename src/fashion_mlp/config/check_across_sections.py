"""Check values of different sections against each other; each section on its own is valid."""

from collections.abc import Iterator, Mapping
from math import lcm
from pathlib import Path
from typing import Any

from fashion_mlp.config.messages import did_you_mean, find_obstacle, format_value, missing_path
from fashion_mlp.config.monitoring import DEFAULT_OBJECTIVE, METRICS, monitored_metrics
from fashion_mlp.config.schema import RunConfig, find_schema, is_enabled

USE_EMA = "use callbacks.ema.decay=0.999"
# Callbacks of Lightning that do not work here, or with which a resumed run would differ, with a remedy.
UNSUPPORTED = {
    "BatchSizeFinder": "the run would keep its first batch size; set data.batch_size",
    "EMAWeightAveraging": f"checkpoints would not contain the average; {USE_EMA}",
    "LearningRateFinder": "the run would keep its first learning rate; type fashion-mlp lr-find",
    "LearningRateMonitor": "it logs twice when a run is resumed; remove it, since lr is always logged",
    "ModelPruning": "the masks are lost when a run is resumed; remove it",
    "OnExceptionCheckpoint": "a new run would start from its file; remove it, since last.ckpt is always saved",
    "StochasticWeightAveraging": f"the average is lost when a run is resumed; {USE_EMA}",
    "WeightAveraging": f"checkpoints would not contain the average; {USE_EMA}",
}


def has_validation(data: Mapping[str, Any]) -> bool:
    """Return True if the arguments of a data module give it images for validation."""
    sources = ("folds", "val_annotations_file", "val_img_dir")
    return data.get("val_size") != 0 or any(map(data.get, sources))


def find_conflicts(run: RunConfig) -> Iterator[str]:
    """Yield a line for each value that does not work with a value of another section."""
    callbacks = {name: callback for name, callback in run.callbacks.items() if is_enabled(callback)}
    if run.ckpt_path and run.resume is None and (problem := missing_path(run.ckpt_path, is_file=True)):
        yield f"ckpt_path={run.ckpt_path}: {problem}"
    yield from _fold_conflicts(run.data)
    yield from _monitor_conflicts(run, callbacks)
    yield from _training_conflicts(run, callbacks.get("ema", {}).get("decay"))
    yield from _schedule_conflicts(run)
    if run.resume is None:  # a resumed run finds its own files
        for name, callback in callbacks.items():
            yield from _callback_conflicts(f"callbacks.{name}", callback, run)


def _fold_conflicts(data: Mapping[str, Any]) -> Iterator[str]:
    folds, fold = data.get("folds"), data.get("fold") or 0
    if folds is None and fold:
        yield f"data.fold={fold}: no folds. Set data.folds too"
    elif folds is not None and fold >= folds:
        yield f"data.fold={fold}: no such fold. Expected 0 to {folds - 1}, less than data.folds={folds}"
    for name in ("val_annotations_file", "val_img_dir"):
        if folds is not None and data.get(name):
            yield f"data.folds={folds}: the validation images have a source. Type data.{name}=null"


def _monitor_conflicts(run: RunConfig, callbacks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    known = monitored_metrics(run.metrics)
    yield from (
        f"metrics.{name}: the name of a built-in metric. Use another" for name in run.metrics if name in METRICS
    )
    sections = {"scheduler": run.scheduler or {}, **{f"callbacks.{name}": item for name, item in callbacks.items()}}
    monitors = {"objective": run.objective}
    for key, section in sections.items():
        if "monitor" in find_schema(section).model_fields and section.get("monitor"):
            monitors[f"{key}.monitor"] = section["monitor"]
    for key, monitor in monitors.items():
        if monitor not in known and (key == "objective" or monitor != run.objective):
            reason = "no model is chosen with test images" if monitor.startswith("test/") else "no such metric"
            yield f"{key}={monitor}: {reason}{did_you_mean(monitor, known)}"
        # Without validation, the default objective is replaced, and the callback for the best checkpoint is omitted.
        is_omitted = key == "callbacks.best_checkpoint.monitor" or (key, monitor) == ("objective", DEFAULT_OBJECTIVE)
        if monitor.startswith("val/") and not is_omitted and not has_validation(run.data):
            training = monitor.replace("val/", "train/")
            yield f"{key}={monitor}: no validation with data.val_size=0. Type {key}={training}"


def _training_conflicts(run: RunConfig, decay: float | None) -> Iterator[str]:
    data, trainer = run.data, run.trainer
    augment, sides = data.get("augment") or {}, data.get("image_size", [28, 28])
    translate = augment.get("translate", 0)
    if isinstance(sides, list) and translate >= min(sides):
        yield f"data.augment.translate={translate}: too large. Expected less than the sides {format_value(sides)}"
    precision = str(trainer.get("precision"))
    if run.optimizer.get("fused") and precision.startswith("16") and trainer.get("gradient_clip_val"):
        yield f"trainer.precision={precision}: no clipping with a fused optimizer. Type optimizer.fused=false"
    if run.model.get("norm") == "batch" and run.model.get("hidden_sizes") and data.get("batch_size") == 1:
        yield "model.norm=batch: needs more than one image. Set data.batch_size above 1"
    if decay is not None and precision in ("16-true", "bf16-true"):
        mixed = precision.replace("true", "mixed")
        yield f"callbacks.ema.decay={format_value(decay)}: no effect in {precision}. Type trainer.precision={mixed}"
    if run.cuda_graph and not run.optimizer.get("fused"):
        yield "cuda_graph=true: needs a fused optimizer. Expected Adam, AdamW or SGD with optimizer.fused=true"
    if run.cuda_graph and data.get("num_workers"):  # the thread that pins their batches would invalidate a capture
        yield "cuda_graph=true: does not work with other processes for the data. Type data.num_workers=0"
    every, epochs = trainer.get("check_val_every_n_epoch") or 0, trainer.get("max_epochs") or 0
    if has_validation(data) and 0 < epochs < every:
        yield f"trainer.check_val_every_n_epoch={every}: more than trainer.max_epochs={epochs}. Expected at most that"


def _schedule_conflicts(run: RunConfig) -> Iterator[str]:
    scheduler, trainer = run.scheduler or {}, run.trainer
    monitor, epochs = str(scheduler.get("monitor")), trainer.get("max_epochs")
    if monitor.startswith("val/") and trainer.get("check_val_every_n_epoch") != 1:
        yield f"scheduler.monitor={monitor}: needed after each epoch. Type trainer.check_val_every_n_epoch=1"
    lr, min_lr = run.optimizer.get("lr"), scheduler.get("min_lr")
    if isinstance(lr, float | int) and isinstance(min_lr, float | int) and min_lr > lr:
        yield f"scheduler.min_lr={min_lr:g}: too large. Expected at most optimizer.lr={lr:g}"
    planned = ["a schedule"] if scheduler and "monitor" not in scheduler else []
    planned += ["data.augment.off_fraction"] if (run.data.get("augment") or {}).get("off_fraction") else []
    is_endless = epochs == -1 or (epochs is None and trainer.get("max_time") is not None)
    if planned and is_endless and trainer.get("max_steps") == -1:
        yield f"trainer.max_epochs={format_value(epochs)}: {planned[0]} needs a length. Set trainer.max_epochs"


def _callback_conflicts(key: str, callback: Mapping[str, Any], run: RunConfig) -> Iterator[str]:
    module, _, kind = str(callback.get("_target_")).rpartition(".")
    if module.startswith("lightning.") and kind in UNSUPPORTED:
        yield f"{key}._target_={module}.{kind}: {UNSUPPORTED[kind]}"
    if kind == "WeightEMA" and run.cuda_graph:
        yield f"{key}: averages after each step, unlike a CUDA graph. Type cuda_graph=false"
    if kind == "Pruning" and not (run.objective.startswith("val/") and has_validation(run.data)):
        needed = f"a validation metric, such as {DEFAULT_OBJECTIVE}, and data.val_size above 0"
        yield f"objective={run.objective}: a search compares validation images. Expected {needed}"
    if kind.endswith("ProgressBar") and key != "callbacks.progress_bar" and run.callbacks.get("progress_bar"):
        yield f"{key}: a second progress bar. Type ~callbacks.progress_bar"
    if key == "callbacks.best_checkpoint" and callback.get("monitor") is None:
        yield f"{key}.monitor=null: no best without a metric. To test the last weights type ~{key}"
    if kind in ("BestCheckpoint", "ModelCheckpoint"):
        yield from _checkpoint_conflicts(key, callback, run)


def _checkpoint_conflicts(key: str, callback: Mapping[str, Any], run: RunConfig) -> Iterator[str]:
    name, dirpath, trainer = str(callback.get("filename")), callback.get("dirpath"), run.trainer
    fields = {"epoch": 1, "step": 1, **dict.fromkeys(monitored_metrics(run.metrics), 0.5)}
    try:
        name.format_map(fields)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        yield f"{key}.filename={name}: not a valid template ({error}). Expected the fields {', '.join(fields)}"
    is_once_an_epoch = trainer.get("val_check_interval") in (None, 1.0)
    is_unique = "{" not in name or "{step" in name or ("{epoch" in name and is_once_an_epoch)
    keeps_several = callback.get("save_top_k", 1) not in (0, 1) and callback.get("enable_version_counter") is False
    if keeps_several and not is_unique:
        yield f"{key}.filename={name}: several checkpoints could have the same name. Add {{step}}"
    epochs, every = trainer.get("max_epochs") or 0, callback.get("every_n_epochs")
    if every and 0 < epochs < lcm(every, trainer.get("check_val_every_n_epoch") or 1):
        yield f"{key}.every_n_epochs={every}: no checkpoint in trainer.max_epochs={epochs}. Expected at most {epochs}"
    if dirpath is not None and "${" not in dirpath and not dirpath.startswith(run.run_dir):
        if problem := find_obstacle(Path(dirpath)):
            yield f"{key}.dirpath={dirpath}: {problem}"
        elif (path := Path(dirpath, f"{name}.ckpt").expanduser()).exists():
            yield f"{key}.dirpath={dirpath}: {path} exists and would be overwritten. Choose another directory"
