"""The schema of the configuration: type and range of each key, and values that cannot be combined.

Each model describes the arguments of the classes and functions that it names as `targets`; their values are in `conf/`.
A part of the configuration whose `_target_` no model names is accepted as it is. The arguments of the Trainer are in
`trainer.py`, those of callbacks in `callbacks.py`.
"""

from collections.abc import Iterator, Mapping
from ctypes import c_float
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AfterValidator, ConfigDict, Field

from fashion_mlp.config.callbacks import callback_conflicts
from fashion_mlp.config.fields import (
    AboveZero,
    AtLeastOne,
    AtLeastZero,
    BelowOne,
    Count,
    Directory,
    Expected,
    File,
    Float,
    Fraction,
    PartConfig,
    Positive,
    Probability,
    Section,
    Seed,
    Text,
)
from fashion_mlp.config.messages import format_value
from fashion_mlp.config.monitoring import MONITORED
from fashion_mlp.config.paths import find_obstacle, missing_path, same_path

# Largest number of weights between hidden layers: 40 GB, and three times that with the state of Adam.
MAX_WEIGHTS = 10**10
# Below it torch's Beta distribution returns one half where it should return nearly 0 or 1.
MIN_MIXUP = 0.01
MIXED = {"16-true": "16-mixed", "bf16-true": "bf16-mixed"}


class AugmentationConfig(Section):
    """Arguments of `fashion_mlp.data.Augmentation`."""

    targets = ("fashion_mlp.data.Augmentation",)

    hflip: Probability
    translate: Count
    erasing: Probability
    mixup: Annotated[Float, Ge(0), Le(1000)]
    off_fraction: BelowOne

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        if 0 < self.mixup < MIN_MIXUP:
            yield f"mixup={format_value(self.mixup)}: too small. Expected 0, or at least {MIN_MIXUP}"


class DataConfig(Section):
    """Arguments of every data module."""

    batch_size: Positive
    eval_batch_size: Positive
    shuffle: bool
    shuffle_seed: Seed
    num_workers: Annotated[int, Ge(0), Le(1024)]
    split_seed: Seed
    train_fraction: Fraction
    augment: PartConfig = Field(default_factory=dict)


class OtherDataConfig(DataConfig):
    """Arguments of a data module without a schema, which accepts arguments of its own."""

    model_config = ConfigDict(strict=True, extra="allow")


class MNISTConfig(DataConfig):
    """Arguments of `fashion_mlp.data.FashionMNISTDataModule` and of its base."""

    targets = ("fashion_mlp.data.MNISTDataModule", "fashion_mlp.data.FashionMNISTDataModule")

    root: Directory
    mirrors: list[Text] | None
    timeout: Annotated[Float, Gt(0), Le(86_400)]
    val_size: Annotated[int, Ge(0), Lt(60_000)]


class SyntheticConfig(DataConfig):
    """Arguments of `fashion_mlp.data.SyntheticDataModule`."""

    targets = ("fashion_mlp.data.SyntheticDataModule",)

    root: Directory
    train_size: Annotated[int, Ge(10), Le(1_000_000)]
    test_size: Annotated[int, Ge(10), Le(1_000_000)]
    val_size: Count
    seed: Seed

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        if self.val_size >= self.train_size:
            yield f"val_size={self.val_size}: too many. Expected less than data.train_size={self.train_size}"


class CustomImagesConfig(DataConfig):
    """Arguments of both data modules over the reader's own images; a size below 1 is a fraction of the whole.

    Attributes:
        sources: the keys that name the images for training, validation and test.
    """

    sources: ClassVar[tuple[str, ...]] = ()

    image_size: Annotated[list[Annotated[int, Ge(1), Le(4096)]], Len(2, 2)]
    mode: Literal["gray", "rgb"]
    val_size: Count | BelowOne
    test_size: Positive | Annotated[Float, Gt(0), Lt(1)]
    class_names: Annotated[list[Text], Len(2)] | None

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        names = self.class_names or []
        if len(set(names)) < len(names):
            yield f"class_names={format_value(names)}: a class is named twice"
        for key in ("annotations_file", "img_dir", *self.sources):
            value, is_file = getattr(self, key, None), key.endswith("_file")
            if value is not None:
                yield from missing_path(key, value, is_file=is_file)
        for one, other in combinations(self.sources, 2):
            if same_path(getattr(self, one), getattr(self, other)):
                yield (
                    f"{other}={getattr(self, other)}: the same as data.{one}; an image must be in one split only. "
                    "Remove it to hold out a part of the training images"
                )


class ImageCSVConfig(CustomImagesConfig):
    """Arguments of `fashion_mlp.data.ImageCSVDataModule`."""

    targets = ("fashion_mlp.data.ImageCSVDataModule",)
    sources = ("annotations_file", "val_annotations_file", "test_annotations_file")

    annotations_file: File
    img_dir: Directory
    val_annotations_file: File | None
    test_annotations_file: File | None


class ImageFolderConfig(CustomImagesConfig):
    """Arguments of `fashion_mlp.data.ImageFolderDataModule`."""

    targets = ("fashion_mlp.data.ImageFolderDataModule",)
    sources = ("img_dir", "val_img_dir", "test_img_dir")

    img_dir: Directory
    val_img_dir: Directory | None
    test_img_dir: Directory | None


class MLPConfig(Section):
    """Arguments of `fashion_mlp.models.MLP`, and `compile` for `torch.compile`."""

    targets = ("fashion_mlp.models.MLP",)

    hidden_sizes: list[Annotated[int, Ge(1), Le(1_000_000)]]
    activation: Literal["elu", "gelu", "leaky_relu", "relu", "selu", "sigmoid", "silu", "tanh"]
    dropout: BelowOne
    norm: Literal["none", "batch", "layer"]
    init: Literal["kaiming", "xavier", "local", "default"]
    mean: Probability
    std: Annotated[Float, Ge(0.001), Le(1)]
    pixel_bins: Annotated[list[Annotated[Float, Ge(0), Le(255)]], Len(2)] | None
    compile: bool

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        weights = sum(inputs * outputs for inputs, outputs in pairwise(self.hidden_sizes))
        if weights > MAX_WEIGHTS:
            yield f"hidden_sizes={format_value(self.hidden_sizes)}: {weights:,} weights do not fit in memory"
        edges = [c_float(edge).value for edge in self.pixel_bins or []]
        if any(low >= high for low, high in pairwise(edges)):
            yield f"pixel_bins={format_value(self.pixel_bins)}: not in order. Expected increasing numbers"


AlwaysPartial = Annotated[Literal[True], Expected("true, since the run passes the other arguments")]


class OptimizerConfig(Section):
    """Arguments of every optimizer."""

    partial: Annotated[Literal[True], Expected("true, since the run passes the weights")] = Field(
        True, alias="_partial_"
    )
    lr: AboveZero
    weight_decay: AtLeastZero


class AdamConfig(OptimizerConfig):
    """Arguments of `torch.optim.Adam` and `torch.optim.AdamW`."""

    targets = ("torch.optim.Adam", "torch.optim.AdamW")

    betas: Annotated[list[BelowOne], Len(2, 2)]
    eps: AboveZero
    fused: bool


class SGDConfig(OptimizerConfig):
    """Arguments of `torch.optim.SGD`."""

    targets = ("torch.optim.SGD",)

    momentum: BelowOne
    nesterov: bool
    fused: bool

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        if self.nesterov and not self.momentum:
            yield "nesterov=true: no momentum. Set optimizer.momentum above 0"


class RMSpropConfig(OptimizerConfig):
    """Arguments of `torch.optim.RMSprop`, which has no fused implementation."""

    targets = ("torch.optim.RMSprop",)

    alpha: BelowOne
    eps: AboveZero
    momentum: BelowOne
    centered: bool


class SchedulerConfig(Section):
    """Arguments of every schedule."""

    partial: AlwaysPartial = Field(True, alias="_partial_")


class CosineConfig(SchedulerConfig):
    """Arguments of `fashion_mlp.schedulers.cosine`."""

    targets = ("fashion_mlp.schedulers.cosine",)

    min_lr: AtLeastZero


class OneCycleConfig(SchedulerConfig):
    """Arguments of `fashion_mlp.schedulers.onecycle`."""

    targets = ("fashion_mlp.schedulers.onecycle",)

    pct_start: BelowOne
    div_factor: AtLeastOne
    final_div_factor: AtLeastOne


class PlateauConfig(SchedulerConfig):
    """Arguments of `fashion_mlp.schedulers.plateau`."""

    targets = ("fashion_mlp.schedulers.plateau",)

    monitor: Literal[MONITORED]  # type: ignore[valid-type]
    factor: Annotated[Float, Gt(0), Lt(1)]
    patience: Count
    min_lr: AtLeastZero


class StepConfig(SchedulerConfig):
    """Arguments of `fashion_mlp.schedulers.step`."""

    targets = ("fashion_mlp.schedulers.step",)

    step_size: Positive
    gamma: Fraction


class LoggerConfig(Section):
    """Arguments of the loggers that write files; other arguments are accepted."""

    model_config = ConfigDict(strict=True, extra="allow")
    targets = ("lightning.pytorch.loggers.CSVLogger", "lightning.pytorch.loggers.TensorBoardLogger")

    save_dir: Text
    name: str | None
    version: str | int | None


class SearchConfig(Section):
    """Arguments of the Hydra sweeper of `sweep=optuna`."""

    targets = ("hydra_plugins.fashion_mlp_search.OptunaSweeper",)

    n_trials: Positive
    n_jobs: Positive
    seed: Seed
    pruner: Literal["median", "hyperband", "none"]
    params: dict[str, Any]


class LayersConfig(Section):
    """Keys that a search varies in place of `model.hidden_sizes`."""

    width: Annotated[int, Ge(1), Le(1_000_000)]
    depth: Count


class CheckpointConfig(Section):
    """When `last.ckpt` is written within an epoch; null for never."""

    is_complete = True

    every_n_steps: Positive | None
    every_n_seconds: AboveZero | None


def holds_out_images(data: Mapping[str, Any]) -> bool:
    """Return True if the arguments of a data module give it images for validation."""
    return data.get("val_size") != 0 or any(data.get(name) for name in ("val_annotations_file", "val_img_dir"))


def _has_target(part: dict[str, Any]) -> dict[str, Any]:
    if part and not part.get("_target_"):
        raise ValueError
    return part


Parts = dict[str, Annotated[dict[str, Any], AfterValidator(_has_target)] | None]


class RunConfig(Section):
    """The whole configuration of a run."""

    is_complete = True

    data: PartConfig
    model: PartConfig
    optimizer: PartConfig
    scheduler: PartConfig | None
    callbacks: Parts | None
    logger: Parts
    trainer: PartConfig
    seed: Seed
    label_smoothing: BelowOne
    steps_per_execution: Positive
    test: bool
    checkpoint: CheckpointConfig
    ckpt_path: File | None
    ckpt_part: Literal["all", "weights"]
    resume: Directory | None
    resume_sweep: Directory | None
    run_dir: Directory

    @property
    def has_validation(self) -> bool:
        """Whether images are held out for validation."""
        return holds_out_images(self.data)

    @property
    def augment(self) -> dict[str, Any]:
        """The arguments of the augmentation, if the data have one."""
        return self.data.get("augment") or {}

    def cross_conflicts(self) -> Iterator[str]:
        """Yield a line for each value that cannot be combined with one of another section; each section is valid."""
        trainer, optimizer, scheduler = self.trainer, self.optimizer, self.scheduler or {}
        if self.ckpt_path is not None and self.resume is None:
            yield from missing_path("ckpt_path", self.ckpt_path, is_file=True)
        if "${" not in self.run_dir and (obstacle := find_obstacle(Path(self.run_dir))):
            yield f"run_dir={self.run_dir}: {obstacle}"
        translate, sides = self.augment.get("translate", 0), self.data.get("image_size", [28, 28])
        if isinstance(sides, list) and translate >= min(sides):
            yield f"data.augment.translate={translate}: too large. Expected less than the sides {format_value(sides)}"
        precision = str(trainer.get("precision"))
        if optimizer.get("fused") and precision.startswith("16") and trainer.get("gradient_clip_val"):
            yield f"trainer.precision={precision}: no clipping with a fused optimizer. Type optimizer.fused=false"
        has_hidden = self.model.get("norm") == "batch" and self.model.get("hidden_sizes")
        if has_hidden and self.data.get("batch_size") == 1:
            yield "model.norm=batch: no deviation of one image. Set data.batch_size above 1"
        callbacks = self.callbacks or {}
        decay = (callbacks.get("ema") or {}).get("decay")
        if decay is not None and precision in MIXED:
            mixed = MIXED[precision]
            yield f"callbacks.ema.decay={format_value(decay)}: no effect in {precision}. Type trainer.precision={mixed}"
        every, epochs = trainer.get("check_val_every_n_epoch") or 0, trainer.get("max_epochs") or 0
        if self.has_validation and 0 < epochs < every:
            yield f"trainer.check_val_every_n_epoch={every}: no validation in {epochs} epochs. Expected at most that"
        for name, parts in (
            ("enable_checkpointing", ("best_checkpoint", "last_checkpoint")),
            ("enable_progress_bar", ("progress_bar",)),
        ):
            present = [f"~callbacks.{part}" for part in parts if callbacks.get(part)]
            if trainer.get(name) is False and present:
                yield f"trainer.{name}=false: a callback does this. Type {' '.join(present)} instead"
        lr, min_lr = optimizer.get("lr"), scheduler.get("min_lr")
        if isinstance(lr, float | int) and isinstance(min_lr, float | int) and min_lr > lr:
            bound = f"optimizer.lr={format_value(lr)}"
            yield f"scheduler.min_lr={format_value(min_lr)}: too large. Expected at most {bound}"
        yield from self._schedule_conflicts(str(scheduler.get("monitor")))
        for name, part in callbacks.items():
            if part and self.resume is None:
                has_validation = self.has_validation
                yield from callback_conflicts(
                    f"callbacks.{name}", part, self.run_dir, trainer, callbacks, has_validation=has_validation
                )

    def _schedule_conflicts(self, monitor: str) -> Iterator[str]:
        trainer, epochs = self.trainer, self.trainer.get("max_epochs")
        if monitor.startswith("val/") and not self.has_validation:
            yield f"scheduler.monitor={monitor}: no validation with data.val_size=0. Type scheduler.monitor=train/loss"
        if monitor.startswith("val/") and trainer.get("check_val_every_n_epoch") != 1:
            yield f"scheduler.monitor={monitor}: needed after each epoch. Type trainer.check_val_every_n_epoch=1"
        is_endless = epochs == -1 or (epochs is None and trainer.get("max_time") is not None)
        planned = [
            *(["a schedule"] if self.scheduler and "monitor" not in self.scheduler else []),
            *(["data.augment.off_fraction"] if self.augment.get("off_fraction") else []),
        ]
        if planned and is_endless and trainer.get("max_steps") == -1:
            yield f"trainer.max_epochs={format_value(epochs)}: {planned[0]} needs a length. Set trainer.max_epochs"
