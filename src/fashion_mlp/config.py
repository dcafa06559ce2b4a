"""The schema of the configuration: the type and range of every key.

Each dataclass describes one option of a config group; the values stand in `conf/`, so a field without a
default here is given there. Only the Trainer's arguments have their defaults here, which are Lightning's
own. This module must stay light: a mistake is reported before torch is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from fashion_mlp.errors import UserError
from fashion_mlp.fields import number, one_of

ACTIVATIONS = ("elu", "gelu", "leaky_relu", "relu", "selu", "sigmoid", "silu", "tanh")
NORMS = ("none", "batch", "layer")
INITS = ("kaiming", "xavier", "local", "default")
PRUNERS = ("median", "hyperband", "none")
FIGURE_SUFFIXES = (".jpg", ".pdf", ".png", ".svg", ".webp")
"""Endings of the files that figures are saved as."""
CONF = Path(__file__).resolve().parents[2] / "conf"
"""The values, in the project's directory."""


@dataclass
class AugmentConfig:
    """`fashion_mlp.data.Augmentation`."""

    _target_: str = MISSING
    flip: float = number(ge=0, le=1)
    shift: int = number(ge=0)
    erasing: float = number(ge=0, le=1)
    mixup: float = number(ge=0, le=1000)
    off_last: float = number(ge=0, lt=1)


@dataclass
class DataConfig:
    """What every data module takes."""

    _target_: str = MISSING
    batch_size: int = number(ge=1)
    eval_batch_size: int = number(ge=1)
    shuffle: bool = MISSING
    shuffle_seed: int = MISSING
    num_workers: int = number(ge=0, le=1024)
    split_seed: int = number(ge=0, lt=2**32)
    train_fraction: float = number(gt=0, le=1)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class FashionMNISTConfig(DataConfig):
    """`fashion_mlp.data.FashionMNISTDataModule`."""

    root: str = MISSING
    mirrors: list[str] = MISSING
    timeout: float = number(gt=0, le=86_400)
    val_size: int = number(ge=0, lt=60_000)


@dataclass
class SyntheticConfig(DataConfig):
    """`fashion_mlp.data.SyntheticDataModule`."""

    root: str = MISSING
    train_size: int = number(ge=10, le=1_000_000)
    test_size: int = number(ge=10, le=1_000_000)
    val_size: int = number(ge=0)
    seed: int = number(ge=0, lt=2**32)


@dataclass
class OwnImagesConfig(DataConfig):
    """What both data modules over the reader's own images take; sizes below 1 are parts of the whole."""

    image_size: tuple[int, int] = number(ge=1, le=4096)
    mode: str = one_of("gray", "rgb")
    val_size: int | float = number(ge=0, is_part=True)
    test_size: int | float = number(gt=0, is_part=True)
    class_names: list[str] | None = MISSING


@dataclass
class ImageCSVConfig(OwnImagesConfig):
    """`fashion_mlp.data.ImageCSVDataModule`."""

    annotations_file: str = MISSING
    img_dir: str = MISSING
    val_annotations_file: str | None = MISSING
    test_annotations_file: str | None = MISSING


@dataclass
class ImageFolderConfig(OwnImagesConfig):
    """`fashion_mlp.data.ImageFolderDataModule`."""

    img_dir: str = MISSING
    val_img_dir: str | None = MISSING
    test_img_dir: str | None = MISSING


@dataclass
class MLPConfig:
    """`fashion_mlp.models.MLP`."""

    _target_: str = MISSING
    hidden_sizes: list[int] = number(ge=1, le=1_000_000)
    activation: str = one_of(*ACTIVATIONS)
    dropout: float = number(ge=0, lt=1)
    norm: str = one_of(*NORMS)
    init: str = one_of(*INITS)
    mean: float = number(ge=0, le=1)
    std: float = number(ge=0.001, le=1)
    pixel_bins: list[float] | None = number(ge=0, le=255)
    compile: bool = MISSING


@dataclass
class OptimizerConfig:
    """What every optimizer takes."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = number(gt=0)
    weight_decay: float = number(ge=0)


@dataclass
class AdamConfig(OptimizerConfig):
    """`torch.optim.Adam` and `torch.optim.AdamW`."""

    betas: tuple[float, float] = number(ge=0, lt=1)
    eps: float = number(gt=0)
    fused: bool = MISSING


@dataclass
class SGDConfig(OptimizerConfig):
    """`torch.optim.SGD`."""

    momentum: float = number(ge=0, lt=1)
    nesterov: bool = MISSING
    fused: bool = MISSING


@dataclass
class RMSpropConfig(OptimizerConfig):
    """`torch.optim.RMSprop`, which has no fused form."""

    alpha: float = number(ge=0, lt=1)
    eps: float = number(gt=0)
    momentum: float = number(ge=0, lt=1)
    centered: bool = MISSING


@dataclass
class SchedulerConfig:
    """What every scheduler takes."""

    _target_: str = MISSING
    _partial_: bool = True


@dataclass
class CosineConfig(SchedulerConfig):
    """`fashion_mlp.schedulers.cosine`."""

    min_lr: float = number(ge=0)


@dataclass
class OneCycleConfig(SchedulerConfig):
    """`fashion_mlp.schedulers.onecycle`."""

    pct_start: float = number(ge=0, lt=1)
    div_factor: float = number(ge=1)
    final_div_factor: float = number(ge=1)


@dataclass
class PlateauConfig(SchedulerConfig):
    """`fashion_mlp.schedulers.plateau`."""

    monitor: str = one_of("val/loss", "val/acc", "train/loss", "train/acc")
    factor: float = number(gt=0, lt=1)
    patience: int = number(ge=0)
    min_lr: float = number(ge=0)


@dataclass
class StepConfig(SchedulerConfig):
    """`fashion_mlp.schedulers.step`."""

    step_size: int = number(ge=1)
    gamma: float = number(gt=0, le=1)


@dataclass
class EMAConfig:
    """`fashion_mlp.callbacks.ema`; None switches it off."""

    _target_: str = MISSING
    decay: float | None = number(gt=0, lt=1)


@dataclass
class TrainerConfig:
    """Every argument of `lightning.Trainer` with its own default, so that each can be set without a `+`.

    What those of type Any may be is in `command_line/trainer_values.py`, since OmegaConf cannot express it.
    `callbacks` and `logger` have config groups of their own. A test holds this against Lightning's signature.
    """

    _target_: str = MISSING
    accelerator: str = one_of("auto", "cpu", "gpu", "cuda", "mps", default="auto")
    strategy: Any = "auto"
    devices: Any = "auto"
    num_nodes: int = number(1, ge=1)
    precision: Any = None
    fast_dev_run: int | bool = number(False, ge=0)
    max_epochs: int | None = number(None, ge=-1)
    min_epochs: int | None = number(None, ge=0)
    max_steps: int = number(-1, ge=-1)
    min_steps: int | None = number(None, ge=0)
    max_time: Any = None
    limit_train_batches: int | float | None = number(None, ge=0, is_part=True)
    limit_val_batches: int | float | None = number(None, ge=0, is_part=True)
    limit_test_batches: int | float | None = number(None, ge=0, is_part=True)
    limit_predict_batches: int | float | None = number(None, ge=0, is_part=True)
    overfit_batches: int | float = number(0.0, ge=0, is_part=True)
    val_check_interval: Any = None
    check_val_every_n_epoch: int | None = number(1, ge=1)
    num_sanity_val_steps: int | None = number(None, ge=-1)
    log_every_n_steps: int | None = number(None, ge=1)
    enable_checkpointing: bool | None = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = None
    accumulate_grad_batches: int = number(1, ge=1)
    gradient_clip_val: int | float | None = number(None, ge=0)
    gradient_clip_algorithm: str | None = one_of("norm", "value", default=None)
    deterministic: Any = None
    benchmark: bool | None = None
    inference_mode: bool = True
    use_distributed_sampler: bool = True
    profiler: Any = None
    detect_anomaly: bool = False
    barebones: bool = False
    plugins: Any = None
    sync_batchnorm: bool = False
    reload_dataloaders_every_n_epochs: int = number(0, ge=0)
    default_root_dir: str | None = None
    enable_autolog_hparams: bool = True
    model_registry: str | None = None


@dataclass
class CheckpointConfig:
    """When `last.ckpt` is written in the middle of an epoch; null for never."""

    every_n_steps: int | None = number(ge=1)
    every_n_seconds: float | None = number(gt=0)


@dataclass
class TrainConfig:
    """The whole configuration of a run."""

    data: Any = MISSING
    model: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING
    trainer: Any = MISSING
    seed: int = number(ge=0, lt=2**32)
    label_smoothing: float = number(ge=0, lt=1)
    steps_per_execution: int = number(ge=1)
    test: bool = MISSING
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    ckpt_path: str | None = MISSING
    ckpt_part: str = one_of("all", "weights")
    resume: str | None = MISSING
    resume_sweep: str | None = MISSING
    run_dir: str = MISSING


@dataclass
class SearchConfig:
    """`hydra.sweeper` of `sweep=optuna`."""

    _target_: str = "hydra_plugins.fashion_mlp_search.OptunaSweeper"
    n_trials: int = number(ge=1)
    n_jobs: int = number(ge=1)
    seed: int = number(ge=0, lt=2**32)
    pruner: str = one_of(*PRUNERS)
    storage: str = MISSING
    study_name: str = MISSING
    params: dict[str, str] = MISSING


@dataclass
class LayersConfig:
    """What a search may vary under `model` beside the model's own keys: together they make `hidden_sizes`."""

    width: int = number(ge=1)
    depth: int = number(ge=0)


SCHEMAS: Mapping[str, Mapping[str, type]] = {
    "data": {
        "fashion_mnist": FashionMNISTConfig,
        "synthetic": SyntheticConfig,
        "image_csv": ImageCSVConfig,
        "image_folder": ImageFolderConfig,
    },
    "model": {"mlp": MLPConfig},
    "optimizer": {"adam": AdamConfig, "sgd": SGDConfig, "rmsprop": RMSpropConfig},
    "scheduler": {
        "cosine": CosineConfig,
        "onecycle": OneCycleConfig,
        "plateau": PlateauConfig,
        "step": StepConfig,
    },
    "callbacks": {"ema": EMAConfig},
    "trainer": {"trainer": TrainerConfig},
}


def find_conf() -> Path:
    """Return the folder `conf/` of the project.

    Raises:
        UserError: the package is installed without it.
    """
    if not CONF.is_dir():
        raise UserError(f"{CONF}: no such folder. Install the project from its folder: python -m pip install -e .")
    return CONF


def register() -> None:
    """Make the schemas known to Hydra, as `/schema/<group>/<option>` and, for the whole, `schema/train`."""
    store = ConfigStore.instance()
    store.store(group="schema", name="train", node=TrainConfig)
    store.store(group="hydra/sweeper", name="fashion_mlp", node=SearchConfig)
    for group, options in SCHEMAS.items():
        for name, node in options.items():
            store.store(group=f"schema/{group}", name=name, node=node)
