"""A run, from its configuration to its results."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fashion_mlp import __version__, memory, processes, report, several_steps
from fashion_mlp.checkpoint import read_checkpoint
from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.config import TrainerConfig
from fashion_mlp.data import ImageDataModule
from fashion_mlp.errors import UserError
from fashion_mlp.run_folder import claimed
from fashion_mlp.several_steps import SeveralStepsClassifier
from fashion_mlp.tensorboard import SAMPLES, recorded
from fashion_mlp.terminal import silence_libraries

log = logging.getLogger(__name__)


def train(cfg: DictConfig, overrides: Sequence[str] = ()) -> float:
    """Train, validate, test the best checkpoint once, and record everything in the run's folder.

    Args:
        cfg: the composed configuration, checked by `fashion_mlp.command_line`.
        overrides: the overrides that it was composed with, which are recorded.

    Returns:
        The objective of a sweep: the best validation accuracy, or the last training loss where there is no
        validation split.

    Raises:
        UserError: something that the user can mend: data that cannot be had, a device that is not there, a loss that
            became NaN.
    """
    silence_libraries()
    if not torch.cuda.is_available():
        # Lightning sets this for forked processes with GPUs; without one it makes each optimizer step look for NVML.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    run_dir = Path(cfg.run_dir)
    remedy = memory.remedy_for(cfg)
    with memory.shortage_told(remedy), claimed(run_dir) if processes.is_first() else nullcontext():
        seed_everything(cfg.seed, workers=True, verbose=False)
        # With it, distributed strategies would go back to the seed after the weights are drawn.
        del os.environ["PL_GLOBAL_SEED"]
        if cfg.ckpt_path is not None:
            check_goes_on(cfg.ckpt_path, cfg.trainer.max_epochs)
        datamodule: ImageDataModule = build("data", cfg)
        trainer = build_trainer(cfg, has_validation=datamodule.has_validation)
        datamodule.prepare_data()
        datamodule.setup("fit")
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set at run time
        if several_steps.is_possible(cfg.trainer, vars(TrainerConfig()), callbacks):
            datamodule.fetch_several(cfg.steps_per_execution)
        classifier = build_classifier(cfg, datamodule)
        if trainer.global_rank > 0:
            torch.manual_seed(cfg.seed + trainer.global_rank)  # masks of dropout of its own

    if trainer.is_global_zero:
        log.info(report.announcement(classifier, datamodule, trainer, run_dir, cfg.seed))
    images, _ = datamodule.parts["train"].__getitems__(range(min(SAMPLES, len(datamodule.parts["train"]))))
    loggers = trainer.loggers if trainer.is_global_zero else []
    with memory.shortage_told(remedy), recorded(loggers, plain(cfg), classifier.model, images):
        if cfg.model.get("compile"):
            classifier.model.compile()
        with lightning_complaints("trainer"):
            trainer.fit(classifier, datamodule, ckpt_path=cfg.ckpt_path)
        seconds = time.perf_counter() - classifier.began

        chosen = chosen_checkpoint(trainer)
        metrics = metrics_of(chosen) if chosen else classifier.latest_metrics()
        if cfg.test:
            # The only time that the test set is read.
            trainer.test(classifier, datamodule, ckpt_path=chosen, verbose=False)
            metrics |= classifier.latest_metrics()
    if trainer.is_global_zero:
        metrics |= {
            "data": datamodule.name,
            "seed": cfg.seed,
            "epochs": trainer.current_epoch,
            "seconds": seconds,
            "samples_per_second": classifier.samples_seen * trainer.world_size / seconds,
            "device": report.device_name(trainer),
            "parameters": report.num_parameters(classifier),
            "overrides": list(overrides),
            "checkpoint": chosen and str(chosen.relative_to(run_dir)),
            **report.versions(),
        }
        report.write_metrics(run_dir / "metrics.json", metrics)
        has_charts = any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers)
        log.info(report.results(metrics, chosen, run_dir, has_charts=has_charts))
    return float(metrics["val/acc"] if datamodule.has_validation else metrics["train/loss"])


def check_goes_on(path: str, max_epochs: int | None) -> None:
    """Check that a checkpoint can be read and leaves something to train.

    Raises:
        UserError: it cannot, or does not.
    """
    done = read_checkpoint(path)["epoch"] + 1
    if max_epochs is not None and 0 <= max_epochs <= done:
        raise UserError(f"ckpt_path={path}: has trained {done} epochs already; set trainer.max_epochs above that")


def build_classifier(cfg: DictConfig, datamodule: ImageDataModule) -> Classifier:
    """Build the network for the data at hand, and the classifier around it."""
    config: dict[str, Any] = {
        **plain(cfg.model),
        "image_shape": list(datamodule.image_shape),
        "num_classes": len(datamodule.class_names),
    }
    config.pop("compile", None)  # no argument of the network, and done later
    model: nn.Module = build("model", config)
    several = datamodule.batches_per_fetch > 1
    make = partial(SeveralStepsClassifier, batch_size=datamodule.batch_size) if several else Classifier
    return make(
        model,
        datamodule.class_names,
        optimizer=build("optimizer", cfg),
        scheduler=build("scheduler", cfg) if cfg.scheduler else None,
        label_smoothing=cfg.label_smoothing,
        metadata={
            "version": __version__,
            "model": config,
            "class_names": list(datamodule.class_names),
            "data": datamodule.identity,
        },
    )


def build_trainer(cfg: DictConfig, *, has_validation: bool) -> Trainer:
    """Build the Trainer with its callbacks and loggers."""
    built = [build(f"callbacks.{name}", cfg) for name, config in cfg.callbacks.items() if config]
    callbacks = [callback for callback in built if callback is not None]  # one that is switched off
    if not has_validation:  # nothing to choose a best checkpoint by
        callbacks = [callback for callback in callbacks if not _monitors_validation(callback)]
    loggers = [build(f"logger.{name}", cfg) for name, config in cfg.logger.items() if config]
    arguments = {} if has_validation else {"limit_val_batches": 0}
    trainer: Trainer = build("trainer", cfg, callbacks=callbacks, logger=loggers or False, **arguments)
    return trainer


def build(key: str, cfg: Mapping[str, Any], **arguments: Any) -> Any:
    """Instantiate the part of a configuration that `key` names, or `cfg` itself if it is that part.

    Raises:
        UserError: the constructor refused its arguments.
    """
    config = plain(OmegaConf.select(cfg, key)) if isinstance(cfg, DictConfig) else cfg
    try:
        return instantiate(config, **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if cause is not None and (isinstance(cause, UserError) or memory.is_shortage(cause)):
            raise cause from None
        raise UserError(f"{key}: {cause or error}") from error


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain values, its interpolations resolved."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return cast("dict[str, Any]", container)


def chosen_checkpoint(trainer: Trainer) -> Path | None:
    """Return the best checkpoint, or the last where nothing was monitored, or None where none was written."""
    written = [
        callback
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path
    ]
    monitored = [callback for callback in written if callback.monitor is not None]
    return Path((monitored or written)[0].best_model_path) if written else None


def metrics_of(checkpoint: Path) -> dict[str, Any]:
    """Return the metrics that a checkpoint was saved with, and its epoch, counted from 1."""
    content = read_checkpoint(checkpoint)
    return {**content[METADATA_KEY]["metrics"], "epoch": content["epoch"] + 1}


@contextmanager
def lightning_complaints(key: str) -> Iterator[None]:
    """Report a combination that Lightning refuses as the user's mistake, under the key it came from."""
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(f"{key}: {error}") from error


def _monitors_validation(callback: object) -> bool:
    return str(getattr(callback, "monitor", None)).startswith("val/")
