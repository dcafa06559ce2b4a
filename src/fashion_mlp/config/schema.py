"""The schema of each section of the configuration: the type and range of a key, and values that exclude each other.

A section describes the arguments of the classes and functions that it names as `targets`; their values are in `conf/`.
A section of the configuration whose `_target_` has no schema is not checked. The module `check_across_sections`
compares values of different sections.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeGuard

from annotated_types import Ge, Gt, Le, Len, Lt, Predicate
from pydantic import BaseModel, ConfigDict, Field, field_validator

from fashion_mlp.config.messages import format_value, is_same_path, missing_path
from fashion_mlp.config.monitoring import metric_direction, monitored_metrics
from fashion_mlp.runtime import ranks

# Suffixes of the files that figures are saved as.
FIGURE_SUFFIXES = (".jpg", ".pdf", ".png", ".svg", ".webp")
# Names of the files that `TrainingStateCheckpoint` saves.
RESERVED = ("last", "new", "previous")
# Keys that a search varies instead of `model.hidden_sizes`.
LAYER_KEYS = ("model.width", "model.depth")
# Largest number of weights between hidden layers: 40 GB, and three times that with the state of Adam.
MAX_WEIGHTS = 10**10
MAX_PROCESSES_PER_CORE = 8
# Absolute values that float32 holds with full precision.
FLOAT32_MIN, FLOAT32_MAX = 1.2e-38, 3.4e38


def _are_different(values: Sequence[Any]) -> bool:
    return 0 < len(values) == len(set(values))


Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Unlimited = Annotated[int, Ge(-1)]
AboveZero = Annotated[float, Gt(0)]
AtLeastZero = Annotated[float, Ge(0)]
AtLeastOne = Annotated[float, Ge(1)]
Probability = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
Fraction = Annotated[float, Gt(0), Le(1)]
BetweenZeroAndOne = Annotated[float, Gt(0), Lt(1)]
Text = Annotated[str, Field(min_length=1)]
Directory = Annotated[Text, Field(description="the path of a directory (such as ./name)")]
File = Annotated[Text, Field(description="the path of a file (such as ./name)")]
TargetConfig = Annotated[
    dict[str, Any],
    Predicate(lambda section: not section or bool(section.get("_target_"))),
    Field(description="an object with a _target_"),
]
TargetConfigs = Annotated[dict[str, TargetConfig | None], Field(description="an object with a _target_ or null")]
Name = Annotated[
    str, Field(pattern=r"^[A-Za-z][\w.-]{0,49}$", description="a name such as baseline-2 (letters, digits, -_.)")
]
MetricName = Annotated[Text, Field(examples=monitored_metrics([]))]
FigurePath = Annotated[
    Text,
    Predicate(lambda path: path.endswith(FIGURE_SUFFIXES)),
    Field(description=f"the path of a file that ends in {', '.join(FIGURE_SUFFIXES)}"),
]
Time = Annotated[
    str,
    Field(pattern=r"^\d+:\d\d:\d\d:\d\d$", description="a time as days:hours:minutes:seconds, such as 00:01:30:00"),
    Predicate(lambda time: time.strip("0:") != ""),
]
Devices = Annotated[
    Literal["auto", -1] | Positive | Annotated[list[Count], Predicate(_are_different)],
    Field(description="auto, a number of devices, or different indices in brackets"),
]
Precision = (
    Literal["16-mixed", "bf16-mixed", "16-true", "bf16-true", "32-true", "64-true"]
    | Annotated[Literal[16, 32, 64, "16", "32", "64", "bf16"], Field(description="null")]  # aliases in Lightning
)
# Below 0.01 torch's Beta distribution returns one half where it should return nearly 0 or 1.
Mixup = Annotated[
    float,
    Predicate(lambda alpha: alpha == 0 or 0.01 <= alpha <= 1000),
    Field(description="0 or a number of at least 0.01 and at most 1000"),
]
Batches = Positive | Fraction | None
FollowsFromMonitor = Annotated[None, Field(description="no value, since it follows from the monitored metric")]
NoCheckpoints = Annotated[
    None, Field(description="null; for no checkpoints type ~callbacks.best_checkpoint checkpoint=null")
]
NoProgressBar = Annotated[None, Field(description="null; for no progress bar type ~callbacks.progress_bar")]
SavedAnyway = Annotated[Literal[False] | None, Field(description="false, since last.ckpt is always saved")]


# The section of each `_target_` that has one.
SCHEMAS: dict[str, type["Section"]] = {}


class Section(BaseModel):
    """The keys of one section of the configuration.

    Args:
        targets: the classes and functions, as `_target_` names them, whose arguments these are.

    Attributes:
        enabled_by: the key whose value null disables the section; empty if it is always enabled.
    """

    enabled_by: ClassVar[str] = ""

    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)

    target: Text = Field(default="", alias="_target_")

    def conflicts(self, *, multirun: bool) -> Iterable[str]:
        """Return a line for each value that excludes another; it starts with the name of a key.

        Args:
            multirun: True for a job of a sweep.
        """
        return ()

    def __init_subclass__(cls, *, targets: Iterable[str] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        SCHEMAS.update(dict.fromkeys(targets, cls))

    @field_validator("*")
    @classmethod
    def _is_in_range(cls, value: Any) -> Any:
        for number in value if isinstance(value, list) else [value]:
            largest = 2**63 - 1 if isinstance(number, int) else FLOAT32_MAX
            if isinstance(number, int | float) and number and not FLOAT32_MIN <= abs(number) <= largest:
                raise ValueError(f"outside the range of {'int64' if isinstance(number, int) else 'float32'}")
        return value


def find_schema(section: Mapping[str, Any]) -> type[Section]:
    """Return the schema for the `_target_` of a section; `Section` if it has none."""
    return SCHEMAS.get(str(section.get("_target_")), Section)


def is_enabled(section: Mapping[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    """Return False for a section that is null, or that a key with the value null disables."""
    return section is not None and section.get(find_schema(section).enabled_by, "") is not None


class AugmentationConfig(Section, targets=["fashion_mlp.data.Augmentation"]):
    """Arguments of `fashion_mlp.data.Augmentation`."""

    hflip: Probability
    translate: Count
    erasing: Probability
    mixup: Mixup
    off_fraction: BelowOne


class DataConfig(Section):
    """Arguments of every data module."""

    batch_size: Positive
    eval_batch_size: Positive
    shuffle: bool
    shuffle_seed: Seed
    num_workers: Annotated[int, Ge(0), Le(1024)]
    split_seed: Seed
    val_size: Count | BelowOne
    folds: Annotated[int, Ge(2)] | None
    fold: Count
    balanced_sampling: bool
    train_fraction: Fraction
    augment: TargetConfig = Field(default_factory=dict)


class OtherDataConfig(DataConfig, extra="allow"):
    """Arguments of a data module without a schema, which accepts further arguments."""


MNIST_TARGETS = ["MNISTDataModule", "FashionMNISTDataModule", "kmnist.KMNISTDataModule"]


class MNISTConfig(DataConfig, targets=[f"fashion_mlp.data.{name}" for name in MNIST_TARGETS]):
    """Arguments of `fashion_mlp.data.MNISTDataModule` and of its subclasses."""

    root: Directory
    mirrors: list[Text] | None
    timeout: Annotated[float, Gt(0), Le(86_400)]
    val_size: Annotated[int, Ge(0), Lt(60_000)]


class SyntheticConfig(DataConfig, targets=["fashion_mlp.data.SyntheticDataModule"]):
    """Arguments of `fashion_mlp.data.SyntheticDataModule`."""

    root: Directory
    train_size: Annotated[int, Ge(10), Le(1_000_000)]
    test_size: Annotated[int, Ge(10), Le(1_000_000)]
    val_size: Count
    seed: Seed

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        if not self.folds and self.val_size >= self.train_size:
            yield f"val_size={self.val_size}: too many. Expected less than data.train_size={self.train_size}"


class CustomImagesConfig(DataConfig):
    """Arguments of both data modules for custom images; a size below 1 is a fraction of the images.

    Attributes:
        sources: the keys that name the images for training, validation and test.
    """

    sources: ClassVar[tuple[str, ...]] = ()

    image_size: Annotated[list[Annotated[int, Ge(1), Le(4096)]], Len(2, 2)]
    mode: Literal["gray", "rgb"]
    test_size: Positive | BetweenZeroAndOne
    class_names: Annotated[list[Text], Len(2)] | None
    img_dir: Directory

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        if self.class_names and not _are_different(self.class_names):
            yield f"class_names={format_value(self.class_names)}: a class is named twice"
        paths: dict[str, str] = {key: path for key in self.sources if (path := getattr(self, key)) is not None}
        for key, path in {**paths, "img_dir": self.img_dir}.items():
            if problem := missing_path(path, is_file=key.endswith("_file")):
                yield f"{key}={path}: {problem}"
        for (one, first), (other, second) in combinations(paths.items(), 2):
            if is_same_path(first, second):
                yield f"{other}={second}: the same as data.{one}. Remove it, since an image must be in one split only"


class ImageCSVConfig(CustomImagesConfig, targets=["fashion_mlp.data.ImageCSVDataModule"]):
    """Arguments of `fashion_mlp.data.ImageCSVDataModule`."""

    sources = ("annotations_file", "val_annotations_file", "test_annotations_file")

    annotations_file: File
    val_annotations_file: File | None
    test_annotations_file: File | None


class ImageFolderConfig(CustomImagesConfig, targets=["fashion_mlp.data.ImageFolderDataModule"]):
    """Arguments of `fashion_mlp.data.ImageFolderDataModule`."""

    sources = ("img_dir", "val_img_dir", "test_img_dir")

    val_img_dir: Directory | None
    test_img_dir: Directory | None


class MLPConfig(Section, targets=["fashion_mlp.models.MLP"]):
    """Arguments of `fashion_mlp.models.MLP`, and `compile` for `torch.compile`."""

    hidden_sizes: list[Annotated[int, Ge(1), Le(1_000_000)]]
    activation: Literal["elu", "gelu", "leaky_relu", "relu", "selu", "sigmoid", "silu", "tanh"]
    dropout: BelowOne
    norm: Literal["none", "batch", "layer"]
    init: Literal["kaiming", "xavier", "local", "default"]
    mean: Probability
    std: Annotated[float, Ge(0.001), Le(1)]
    pixel_bins: Annotated[list[Annotated[float, Ge(0), Le(255)]], Len(2)] | None
    compile: bool

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        weights = sum(inputs * outputs for inputs, outputs in pairwise(self.hidden_sizes))
        if weights > MAX_WEIGHTS:
            yield f"hidden_sizes={format_value(self.hidden_sizes)}: {weights:,} weights do not fit in memory"
        if any(low >= high for low, high in pairwise(self.pixel_bins or [])):
            yield f"pixel_bins={format_value(self.pixel_bins)}: not in order. Expected increasing numbers"


class OptimizerConfig(Section):
    """Arguments of every optimizer."""

    lr: AboveZero
    weight_decay: AtLeastZero


class AdamConfig(OptimizerConfig, targets=["torch.optim.Adam", "torch.optim.AdamW"]):
    """Arguments of `torch.optim.Adam` and `torch.optim.AdamW`."""

    betas: Annotated[list[BelowOne], Len(2, 2)]
    eps: AboveZero
    fused: bool


class SGDConfig(OptimizerConfig, targets=["torch.optim.SGD"]):
    """Arguments of `torch.optim.SGD`."""

    momentum: BelowOne
    nesterov: bool
    fused: bool

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        if self.nesterov and not self.momentum:
            yield "nesterov=true: no momentum. Set optimizer.momentum above 0"


class RMSpropConfig(OptimizerConfig, targets=["torch.optim.RMSprop"]):
    """Arguments of `torch.optim.RMSprop`, which has no fused implementation."""

    alpha: BelowOne
    eps: AboveZero
    momentum: BelowOne
    centered: bool


class CosineConfig(Section, targets=["fashion_mlp.schedulers.cosine"]):
    """Arguments of `fashion_mlp.schedulers.cosine`."""

    min_lr: AtLeastZero


class OneCycleConfig(Section, targets=["fashion_mlp.schedulers.onecycle"]):
    """Arguments of `fashion_mlp.schedulers.onecycle`."""

    pct_start: BelowOne
    div_factor: AtLeastOne
    final_div_factor: AtLeastOne


class PlateauConfig(Section, targets=["fashion_mlp.schedulers.plateau"]):
    """Arguments of `fashion_mlp.schedulers.plateau`."""

    monitor: MetricName
    factor: BetweenZeroAndOne
    patience: Count
    min_lr: AtLeastZero


class StepConfig(Section, targets=["fashion_mlp.schedulers.step"]):
    """Arguments of `fashion_mlp.schedulers.step`."""

    step_size: Positive
    gamma: Fraction


class EMAConfig(Section, targets=["fashion_mlp.callbacks.ema.WeightEMA"]):
    """Arguments of `fashion_mlp.callbacks.ema.WeightEMA`."""

    enabled_by = "decay"

    decay: BetweenZeroAndOne | None


class GradientNormConfig(Section, targets=["fashion_mlp.callbacks.gradient_norm.GradientNorm"]):
    """Arguments of `fashion_mlp.callbacks.gradient_norm.GradientNorm`."""

    enabled_by = "every_n_steps"

    every_n_steps: Positive | None


class WeightHistogramsConfig(Section, targets=["fashion_mlp.callbacks.weight_histograms.WeightHistograms"]):
    """Arguments of `fashion_mlp.callbacks.weight_histograms.WeightHistograms`."""

    enabled_by = "every_n_epochs"

    every_n_epochs: Positive | None


class ProgressBarConfig(Section, targets=["fashion_mlp.callbacks.progress_bar.ProgressBar"]):
    """Arguments of `fashion_mlp.callbacks.progress_bar.ProgressBar`."""

    refresh_rate: Positive


class LearningCurvesConfig(Section, targets=["fashion_mlp.callbacks.learning_curves.LearningCurves"]):
    """Arguments of `fashion_mlp.callbacks.learning_curves.LearningCurves`."""

    path: FigurePath


class EvaluationFiguresConfig(Section, targets=["fashion_mlp.callbacks.evaluation_figures.EvaluationFigures"]):
    """Arguments of `fashion_mlp.callbacks.evaluation_figures.EvaluationFigures`."""

    dirpath: Text
    every_n_epochs: Positive
    count: Positive


class CheckpointConfig(Section):
    """When `last.ckpt` is saved within an epoch; null for never."""

    every_n_steps: Positive | None
    every_n_seconds: AboveZero | None


class MonitorConfig(Section, extra="allow"):
    """Arguments that all callbacks with a monitored metric share; other arguments are accepted."""

    monitor: MetricName | None = None
    mode: Literal["min", "max"] | None = None

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        direction = metric_direction(str(self.monitor))
        if self.monitor and self.mode not in (None, direction):
            yield f"mode={self.mode}: {self.monitor} is best at its {direction}imum. Remove it"


class EarlyStoppingConfig(MonitorConfig, targets=["lightning.pytorch.callbacks.EarlyStopping"]):
    """Arguments of `lightning.pytorch.callbacks.EarlyStopping`."""

    enabled_by = "patience"

    patience: Count | None = 3
    check_on_train_epoch_end: FollowsFromMonitor = None
    min_delta: float = 0.0


class CheckpointCallbackConfig(
    MonitorConfig,
    targets=["lightning.pytorch.callbacks.ModelCheckpoint", "fashion_mlp.callbacks.best_checkpoint.BestCheckpoint"],
):
    """Arguments of Lightning's `ModelCheckpoint`, and of `fashion_mlp.callbacks.best_checkpoint.BestCheckpoint`."""

    dirpath: Text | None = None
    filename: Text | None = None
    save_top_k: Unlimited = 1
    save_last: SavedAnyway = None
    save_on_exception: SavedAnyway = None
    every_n_train_steps: Positive | None = None
    every_n_epochs: Positive | None = None
    train_time_interval: TargetConfig | None = None
    save_on_train_epoch_end: FollowsFromMonitor = None

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        yield from super().conflicts(multirun=multirun)
        name = str(self.filename)
        if name in RESERVED:
            yield f"filename={name}: reserved for the state that resume= reads. Use another name, such as best"
        if Path(name).is_absolute() or ".." in Path(name).parts or "${run_dir}" in name:
            yield f"filename={name}: not relative to dirpath. Set dirpath"
        if multirun and self.dirpath is not None and "${" not in self.dirpath:
            yield f"dirpath={self.dirpath}: jobs would overwrite each other's files. Remove it"
        for key in ("every_n_train_steps", "train_time_interval"):
            if self.monitor and (value := getattr(self, key)):
                yield f"{key}={format_value(value)}: {self.monitor} would be older than the saved weights. Remove it"


class LoggerConfig(
    Section,
    targets=["lightning.pytorch.loggers.CSVLogger", "lightning.pytorch.loggers.TensorBoardLogger"],
    extra="allow",
):
    """Arguments of the loggers that write files; other arguments are accepted."""

    save_dir: Text
    name: str | None
    version: str | int | None


class TrainerConfig(Section, targets=["lightning.Trainer"]):
    """Arguments of `lightning.Trainer`; a test compares them with Lightning's signature.

    `callbacks` and `logger` are config groups.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp", "deepspeed"] | TargetConfig
    devices: Devices
    num_nodes: Positive
    precision: Precision | None
    fast_dev_run: bool | Count
    max_epochs: Literal[-1] | Positive | None
    min_epochs: Count | None
    max_steps: Literal[-1] | Positive
    min_steps: Count | None
    max_time: Time | None
    limit_train_batches: Batches
    limit_val_batches: Annotated[Batches, Field(description="more than 0; for no validation type data.val_size=0")]
    limit_test_batches: Annotated[Batches, Field(description="more than 0; for no test type test=false")]
    limit_predict_batches: Batches
    overfit_batches: Count | Probability
    val_check_interval: Positive | Fraction | Time | None
    check_val_every_n_epoch: Positive | None
    num_sanity_val_steps: Unlimited | None
    log_every_n_steps: Positive | None
    enable_checkpointing: NoCheckpoints
    enable_progress_bar: NoProgressBar
    enable_model_summary: bool | None
    accumulate_grad_batches: Positive
    gradient_clip_val: AtLeastZero | None
    gradient_clip_algorithm: Literal["norm", "value"] | None
    deterministic: bool | Literal["warn"] | None
    benchmark: bool | None
    inference_mode: bool
    use_distributed_sampler: Annotated[Literal[True], Field(description="true; each process needs its own images")]
    profiler: Literal["simple", "advanced", "pytorch"] | TargetConfig | None
    detect_anomaly: bool
    barebones: Annotated[Literal[False], Field(description="false; to measure speed use fashion-mlp bench")]
    plugins: list[TargetConfig] | None
    sync_batchnorm: bool
    reload_dataloaders_every_n_epochs: Count
    default_root_dir: Directory | None
    enable_autolog_hparams: bool
    model_registry: Text | None

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        if self.accelerator == "cpu" and str(self.precision).startswith("16"):
            yield f"precision={self.precision}: needs a GPU. Type trainer.precision=bf16-mixed"
        if self.accelerator == "cpu" and self.sync_batchnorm:
            yield "sync_batchnorm=true: works on GPUs only. Type trainer.sync_batchnorm=false"
        cores, devices = os.cpu_count() or 1, self._num_devices()
        if self.accelerator == "cpu" and devices and devices > MAX_PROCESSES_PER_CORE * cores:
            yield f"devices={devices}: too many processes for {cores} cores"
        settings = f"devices={format_value(self.devices)} trainer.num_nodes={self.num_nodes}"
        cluster = ranks.detect_cluster()
        if multirun:  # a job starts its processes itself
            if (cluster is not None and cluster.devices * cluster.nodes > 1) or "NODE_RANK" in os.environ:
                yield f"{settings}: each process would start the whole sweep. Start one, with hydra/launcher=process"
            return
        if cluster is None and self.num_nodes > 1 and "NODE_RANK" not in os.environ:
            yield f"num_nodes={self.num_nodes}: started on one only. Use torchrun or srun; see conf/trainer/ddp.yaml"
        if cluster is not None and (devices or cluster.devices, self.num_nodes) != (cluster.devices, cluster.nodes):
            yield (
                f"{settings}: {cluster.program} has started {cluster.devices} x {cluster.nodes} processes. "
                f"Type trainer=ddp trainer.devices={cluster.devices} trainer.num_nodes={cluster.nodes}"
            )

    def num_processes(self) -> int:
        """Return how many processes a run uses, one per device."""
        return (self._num_devices() or len(list(Path("/dev").glob("nvidia[0-9]*")))) * self.num_nodes

    def _num_devices(self) -> int | None:
        """Return how many devices of a machine a run uses; None for all of its GPUs."""
        if isinstance(self.devices, list):
            return len(self.devices)
        if self.devices in ("auto", -1):
            return 1 if self.accelerator == "cpu" else None
        return int(self.devices)


class SearchConfig(Section, targets=["hydra_plugins.fashion_mlp_optuna.OptunaSweeper"]):
    """Arguments of the Hydra sweeper of `sweep=optuna`."""

    n_trials: Positive
    n_jobs: Positive
    seed: Seed
    pruner: Literal["median", "hyperband", "none"]
    params: dict[str, Any]


class LayersConfig(Section):
    """Keys of the model that a search varies instead of `hidden_sizes`."""

    width: Annotated[int, Ge(1), Le(1_000_000)]
    depth: Count


class RunConfig(Section):
    """The whole configuration of a run."""

    data: TargetConfig
    model: TargetConfig
    optimizer: TargetConfig
    scheduler: TargetConfig | None
    callbacks: TargetConfigs
    logger: TargetConfigs
    metrics: TargetConfigs
    trainer: TargetConfig
    name: Name | None
    seed: Seed
    label_smoothing: BelowOne
    objective: MetricName
    class_weights: Literal["balanced"] | list[AboveZero] | None
    steps_per_execution: Positive
    cuda_graph: bool
    test: bool
    checkpoint: dict[str, Any] | None
    ckpt_path: File | None
    ckpt_restore: Literal["all", "weights", "weights_except_last"]
    resume: Directory | None
    resume_sweep: Directory | None
    run_dir: Directory
