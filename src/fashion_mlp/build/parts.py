"""Build the parts of a run from its configuration."""

import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn
from torchmetrics import Metric

from fashion_mlp import __version__
from fashion_mlp.callbacks.run_progress import RunProgress
from fashion_mlp.callbacks.run_records import RunRecords
from fashion_mlp.callbacks.training_state import TrainingStateCheckpoint
from fashion_mlp.classifier import Classifier
from fashion_mlp.config.messages import format_value
from fashion_mlp.config.monitoring import metric_direction, monitor_arguments
from fashion_mlp.config.schema import is_enabled
from fashion_mlp.data import ImageDataModule
from fashion_mlp.inference.photo.novelty import NUM_REFERENCES, describe_images
from fashion_mlp.multi_step import MultiStepClassifier
from fashion_mlp.runtime import run_directory
from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.failures import is_oom_error
from fashion_mlp.runtime.run_directory import CHECKPOINTS
from fashion_mlp.runtime.signals import GracefulStop


def instantiate_section(key: str, cfg: Mapping[str, Any], expected: type, /, **arguments: Any) -> Any:
    """Instantiate a section of a configuration.

    Args:
        key: name of the section.
        cfg: a `DictConfig` with the section, or the section itself as plain values.
        expected: the class of the result.
        **arguments: further arguments of the constructor.

    Raises:
        UserError: the constructor refused its arguments, or returned something else.
    """
    config = to_container(OmegaConf.select(cfg, key)) if isinstance(cfg, DictConfig) else cfg
    try:
        # Hydra merges keyword arguments with the section, which takes milliseconds.
        built = instantiate({**config, **monitor_arguments(config), "_convert_": "all"}, **arguments)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError) or is_oom_error(cause):
            raise cause from None
        raise UserError(f"{key}: {cause}") from error
    if not isinstance(built, expected):
        raise UserError(f"{key}._target_={config.get('_target_')}: not of the class {expected.__name__}")
    return built


def to_container(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain values, with its interpolations resolved and `~` expanded."""
    return cast("dict[str, Any]", run_directory.expand_home(OmegaConf.to_container(config, resolve=True)))


def build_datamodule(cfg: DictConfig) -> ImageDataModule:
    """Build the data module. To overfit a few batches, these are the same in each epoch."""
    shuffle = cfg.data.get("shuffle", True) and not cfg.trainer.overfit_batches
    datamodule: ImageDataModule = instantiate_section("data", cfg, ImageDataModule, shuffle=shuffle)
    return datamodule


def build_classifier(cfg: DictConfig, datamodule: ImageDataModule) -> Classifier:
    """Build the network for the images and classes of the data, and the classifier that trains it."""
    config: dict[str, Any] = {
        **to_container(cfg.model),
        "image_shape": list(datamodule.image_shape),
        "num_classes": len(datamodule.class_names),
    }
    compile_model = bool(config.pop("compile", False))
    model = instantiate_section("model", config, nn.Module)
    classifier_class: Callable[..., Classifier] = Classifier
    if datamodule.batches_per_fetch > 1:
        classifier_class = partial(MultiStepClassifier, batch_size=datamodule.batch_size, cuda_graph=cfg.cuda_graph)
    return classifier_class(
        model,
        datamodule.class_names,
        optimizer=instantiate_section("optimizer", cfg, partial, _partial_=True),
        scheduler=instantiate_section("scheduler", cfg, partial, _partial_=True) if cfg.scheduler else None,
        label_smoothing=cfg.label_smoothing,
        class_weights=_class_weights(cfg.class_weights, datamodule),
        objective=cfg.objective,
        metrics=_build_metrics(cfg, len(datamodule.class_names)),
        augment=datamodule.augment,
        compile=compile_model,
        metadata={
            "version": __version__,
            "model": config,
            "class_names": list(datamodule.class_names),
            "data": datamodule.identity,
            "novelty": _describe_images(datamodule),
            "augment": {"hflip": datamodule.augment.hflip, "translate": datamodule.augment.translate},
            "optimizer": to_container(cfg.optimizer),
            "scheduler": to_container(cfg.scheduler) if cfg.scheduler else None,
            "callbacks.ema": {"decay": OmegaConf.select(cfg, "callbacks.ema.decay")},
        },
    )


def _describe_images(datamodule: ImageDataModule) -> dict[str, Any] | None:
    """Return what `is_novel` compares with, if the data are set up and photographs are converted for them."""
    train = datamodule.splits.get("train")
    if train is None or not datamodule.is_light_on_black:
        return None
    return describe_images(train.first(2 * NUM_REFERENCES)[0])


def _build_metrics(cfg: DictConfig, num_classes: int) -> dict[str, Metric]:
    """Build the metrics of the config group `metrics`; each must return a number, and agree with its name."""
    metrics: dict[str, Metric] = {}
    for name in filter(cfg.metrics.get, cfg.metrics):
        key = f"metrics.{name}"
        metric: Metric = instantiate_section(key, cfg, Metric, num_classes=num_classes)
        try:
            float(metric(torch.eye(num_classes), torch.arange(num_classes)))
        except Exception as error:  # any that a metric of another task raises
            raise UserError(f"{key}: no number for probabilities [N, {num_classes}] and labels [N]: {error}") from error
        metric.reset()
        is_minimized = metric_direction(f"val/{name}") == "min"
        if metric.higher_is_better == is_minimized:
            rule = "Choose a name that does not end" if is_minimized else "End its name"
            better = "higher" if is_minimized else "lower"
            raise UserError(f"{key}: {better} is better in {type(metric).__name__}. {rule} in loss or error")
        metrics[name] = metric
    return metrics


def _class_weights(config: Any, datamodule: ImageDataModule) -> Tensor | None:
    """Return the weights of the classes in the loss, float `[num_classes]`; None for equal weights."""
    if config is None:
        return None
    train, names = datamodule.splits["train"], datamodule.class_names
    if config == "balanced":
        counts = torch.bincount(train.selected_labels, minlength=len(names))
        return len(train) / (len(names) * counts.clamp(min=1))
    if len(config) != len(names):
        raise UserError(f"class_weights={format_value(list(config))}: {len(config)} weights for {len(names)} classes")
    return torch.tensor(list(config), dtype=torch.float32)


def build_trainer(cfg: DictConfig, stop: GracefulStop, *, resumed: bool, has_validation: bool) -> Trainer:
    """Build the Trainer with its callbacks and loggers.

    Args:
        cfg: configuration of the run.
        stop: receives the signals that ask the run to stop.
        resumed: True if the run has saved a checkpoint, from which it resumes.
        has_validation: True if the data have a validation split.
    """
    enabled = [name for name, config in cfg.callbacks.items() if is_enabled(config)]
    callbacks = [instantiate_section(f"callbacks.{name}", cfg, Callback) for name in enabled]
    if not has_validation:
        callbacks = [callback for callback in callbacks if not str(getattr(callback, "monitor", "")).startswith("val/")]
    callbacks += [RunProgress(), RunRecords(to_container(cfg), resumed=resumed)]
    if cfg.checkpoint:
        callbacks.append(TrainingStateCheckpoint(Path(cfg.run_dir, CHECKPOINTS), stop, **cfg.checkpoint))
    loggers = [instantiate_section(f"logger.{name}", cfg, Logger) for name, config in cfg.logger.items() if config]
    # Without these, Lightning would add a progress bar and a checkpoint of its own.
    arguments: dict[str, Any] = {
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
    }
    if batches := cfg.trainer.overfit_batches:
        # Lightning would replace the sampler, which restores the position of a resumed run.
        arguments |= {"overfit_batches": 0, "limit_train_batches": batches, "limit_val_batches": batches}
    if not has_validation:
        arguments["limit_val_batches"] = 0
    _check_accelerator(cfg.trainer.accelerator, cfg.trainer.precision, cuda_graph=cfg.cuda_graph)
    arguments["plugins"] = [AtomicCheckpointIO(), *(cfg.trainer.plugins or [])]
    arguments |= {"callbacks": callbacks, "logger": loggers or False}
    trainer: Trainer = instantiate_section("trainer", cfg, Trainer, **arguments)
    return trainer


def _check_accelerator(name: str, precision: str | int | None, *, cuda_graph: bool) -> None:
    """Refuse an accelerator that is absent, and float16 on a CPU, which Lightning would replace by bfloat16.

    Also refuse a CUDA graph without CUDA.
    """
    available = {"cuda": CUDAAccelerator.is_available(), "mps": MPSAccelerator.is_available()}
    available["gpu"] = any(available.values())
    if not available.get(name, True):
        raise UserError(f"trainer.accelerator={name}: not available on this machine. Type trainer=auto or trainer=cpu")
    if str(precision).startswith("16") and (name == "cpu" or not available["gpu"]):
        raise UserError(f"trainer.precision={precision}: needs a GPU. Type trainer.precision=bf16-mixed")
    if cuda_graph and (name in ("cpu", "mps") or not available["cuda"]):
        raise UserError("cuda_graph=true: needs a CUDA device. Type cuda_graph=false")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a temporary file on the disk, then rename it.

    A killed run, a full disk or a power loss does not damage the file that it replaces.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()  # the file writer of torch does not report the cause of a failure
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as file, content.getbuffer() as buffer:
            file.write(buffer)
