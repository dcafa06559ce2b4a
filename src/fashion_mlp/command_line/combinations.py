"""Values that are right one by one, and cannot work together; and files that are not there."""

from collections.abc import Iterable, Iterator
from ctypes import c_float
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from fashion_mlp.command_line.callbacks import callback_problems
from fashion_mlp.command_line.folders import is_same
from fashion_mlp.command_line.trainer_values import trainer_problems
from fashion_mlp.suggestions import shown

VAL_SOURCES = ("val_annotations_file", "val_img_dir")
SPLITS = (
    ("annotations_file", "val_annotations_file", "test_annotations_file"),
    ("img_dir", "val_img_dir", "test_img_dir"),
)
"""Keys of `data` that name the reader's own images for training, validation and test."""
MANY_WEIGHTS = 10**10
"""40 GB, and three times that with what Adam keeps."""
TEXTS = ("dirpath", "filename", "folder", "mode", "monitor", "name", "path", "project", "save_dir", "version")
"""Arguments of callbacks and loggers that name something."""
LEAST_MIXUP = 0.01
"""From here down to 0 torch's Beta distribution begins to give one half where it should give nearly 0 or 1."""


def has_validation(cfg: DictConfig) -> bool:
    """Return whether images are held out to validate on."""
    return cfg.data.get("val_size") != 0 or any(cfg.data.get(name) for name in VAL_SOURCES)


def impossible(cfg: DictConfig, multirun: bool) -> Iterator[str]:
    """Yield a line for each combination of values that cannot work."""
    files = {"ckpt_path": None if cfg.resume else cfg.ckpt_path}
    files |= {f"data.{name}": cfg.data.get(name) for name in (*SPLITS[0], *SPLITS[1]) if name in cfg.data}
    for key, value in files.items():
        if value is not None and not OmegaConf.is_missing(cfg, key):
            yield from _not_there(key, value)
    yield from data_problems(cfg.data)
    if cfg.scheduler:
        yield from _schedule_problems(cfg)
    if OmegaConf.select(cfg, "data.augment.off_last"):
        yield from _endless(cfg.trainer, "data.augment.off_last")
    for group in ("optimizer", "scheduler"):
        if cfg[group] and cfg[group].get("_partial_") is False:
            yield f"{group}._partial_=false: must be true, since a run gives it the weights"
    widths = cfg.model.get("hidden_sizes")
    is_list = isinstance(widths, ListConfig) and all(isinstance(width, int) for width in widths)
    if is_list and (weights := sum(first * second for first, second in pairwise(widths))) > MANY_WEIGHTS:
        yield f"model.hidden_sizes={shown(widths)}: {weights:,} weights do not fit in memory; lower them"
    bins = cfg.model.get("pixel_bins")
    if isinstance(bins, ListConfig) and (len(bins) < 2 or any(low >= high for low, high in pairwise(_single(bins)))):
        yield f"model.pixel_bins={shown(bins)}: must be two numbers or more, each greater than the one before it"
    if cfg.optimizer.get("nesterov") and not cfg.optimizer.momentum:
        yield "optimizer.nesterov=true: needs optimizer.momentum greater than 0"
    if cfg.optimizer.get("fused") and str(cfg.trainer.precision).startswith("16") and cfg.trainer.gradient_clip_val:
        yield f"trainer.precision={cfg.trainer.precision}: clipping with it needs optimizer.fused=false"
    if cfg.model.get("norm") == "batch" and cfg.model.get("hidden_sizes") != [] and cfg.data.get("batch_size") == 1:
        yield "model.norm=batch: needs data.batch_size greater than 1"
    decay, precision = OmegaConf.select(cfg, "callbacks.ema.decay"), str(cfg.trainer.precision)
    if decay is not None and precision in ("16-true", "bf16-true"):
        mixed = precision.replace("true", "mixed")
        yield f"callbacks.ema.decay={shown(decay)}: stands still in {precision}; use trainer.precision={mixed}"
    malformed = [problem for group in ("callbacks", "logger") for problem in _part_problems(cfg, group)]
    yield from malformed or callback_problems(cfg, has_validation=has_validation(cfg), multirun=multirun)
    yield from _left_out(cfg)
    every, epochs = cfg.trainer.check_val_every_n_epoch, cfg.trainer.max_epochs
    if has_validation(cfg) and every is not None and epochs is not None and 0 < epochs < every:
        yield f"trainer.check_val_every_n_epoch={every}: never comes in {epochs} epochs; must be at most that"
    yield from trainer_problems(cfg.trainer, multirun)


def _endless(trainer: DictConfig, what: str) -> Iterator[str]:
    """Yield a line if the number of a run's steps is not known before it begins: also if only the time ends it."""
    epochs = trainer.max_epochs
    if trainer.max_steps == -1 and (epochs == -1 or (epochs is None and trainer.max_time is not None)):
        yield f"trainer.max_epochs={shown(epochs)}: {what} needs an end; set trainer.max_epochs or trainer.max_steps"


def _not_there(key: str, value: str) -> Iterator[str]:
    kind = "folder" if key.endswith("_dir") else "file"
    path = Path(value)
    try:
        is_right = path.is_dir() if kind == "folder" else path.is_file()
        if not path.exists():
            yield f"{key}={value}: there is no such {kind}"
        elif not is_right:
            found = "folder" if path.is_dir() else "file" if path.is_file() else "device or pipe"
            yield f"{key}={value}: is a {found}; name a {kind}"
    except (OSError, ValueError) as error:  # too long a name; a null character
        yield f"{key}={value}: cannot be the path of a {kind} ({error})"


def _single(numbers: Iterable[float]) -> list[float]:
    """Return numbers as they are in 32 bits, in which two may be the same."""
    return [c_float(number).value for number in numbers]


def data_problems(data: DictConfig) -> Iterator[str]:
    """Yield a line for each combination of the keys of `data` that cannot work."""
    for one, other in (pair for keys in SPLITS for pair in combinations(keys, 2)):
        if data.get(one) and data.get(other) and is_same(data[one], data[other]):
            yield (
                f"data.{other}={data[other]}: is data.{one} too; each image must be in one split only. Choose another, "
                "or leave it out to hold out a part of the training images"
            )
    train_size = data.get("train_size")
    if train_size is not None and data.val_size >= train_size:
        yield f"data.val_size={data.val_size}: must be less than data.train_size={train_size}"
    shift, sides = OmegaConf.select(data, "augment.shift", default=0), data.get("image_size") or [28, 28]
    if shift >= min(sides):
        yield f"data.augment.shift={shift}: must be less than the images' sides, {shown(sides)}"
    mixup = OmegaConf.select(data, "augment.mixup", default=0)
    if 0 < mixup < LEAST_MIXUP:
        yield f"data.augment.mixup={shown(mixup)}: must be 0, or at least {LEAST_MIXUP}"
    names = data.get("class_names")
    if names is not None and len(set(names)) < max(2, len(names)):
        yield f"data.class_names={shown(names)}: must name at least two classes, each once"


def _schedule_problems(cfg: DictConfig) -> Iterator[str]:
    scheduler, trainer = cfg.scheduler, cfg.trainer
    monitor = str(scheduler.get("monitor"))
    if monitor.startswith("val/") and not has_validation(cfg):
        yield (
            f"scheduler.monitor={monitor}: there is no validation with data.val_size=0; "
            "use scheduler.monitor=train/loss"
        )
    if monitor.startswith("val/") and trainer.check_val_every_n_epoch != 1:
        yield f"scheduler.monitor={monitor}: is looked at after each epoch; needs trainer.check_val_every_n_epoch=1"
    if "monitor" not in scheduler:
        yield from _endless(trainer, "a schedule")
    min_lr = scheduler.get("min_lr")
    lr = cfg.optimizer.get("lr")
    if min_lr is not None and lr is not None and min_lr > lr:
        yield f"scheduler.min_lr={shown(min_lr)}: must be at most optimizer.lr={shown(lr)}"


def _part_problems(cfg: DictConfig, group: str) -> Iterator[str]:
    """Yield what is wrong with callbacks or loggers, whose arguments have no schema."""
    # As they are written: the run's folder, which some of them refer to, is not known yet.
    parts: Any = OmegaConf.to_container(cfg[group]) or {}
    for key, part in ((f"{group}.{name}", part) for name, part in parts.items()):
        if part is None:
            continue
        if not isinstance(part, dict) or (part and not part.get("_target_")):
            yield f"{key}={shown(part)}: must be null, or keys among which _target_ names a class"
            continue
        if part.get("save_last") and cfg.callbacks.get("last_checkpoint"):
            yield f"{key}.save_last={shown(part['save_last'])}: callbacks.last_checkpoint writes last.ckpt; remove it"
        for argument in TEXTS:
            if isinstance(part.get(argument), dict | list):
                yield f"{key}.{argument}={shown(part[argument])}: must be text"


def _left_out(cfg: DictConfig) -> Iterator[str]:
    """Yield what the Trainer is told not to have, and gets as a callback all the same."""
    for name, parts in (
        ("enable_checkpointing", ("best_checkpoint", "last_checkpoint")),
        ("enable_progress_bar", ("progress_bar",)),
    ):
        there = [part for part in parts if cfg.callbacks.get(part)]
        if cfg.trainer.get(name) is False and there:
            yield f"trainer.{name}=false: leave out with it {' '.join(f'~callbacks.{part}' for part in there)}"
