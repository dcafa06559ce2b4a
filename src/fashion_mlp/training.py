"""A run, from its configuration to its results."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate, to_absolute_path
from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback, LambdaCallback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from fashion_mlp import __version__, multi_step
from fashion_mlp.callbacks import FinalFigures, TrainingStateCheckpoint
from fashion_mlp.checkpoint.initial import find_initial_checkpoint
from fashion_mlp.checkpoint.io import AtomicCheckpointIO
from fashion_mlp.checkpoint.load import read_checkpoint
from fashion_mlp.checkpoint.log_files import rewind_logs
from fashion_mlp.checkpoint.training_state import find_written_checkpoints
from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.config.monitoring import OBJECTIVES, monitor_arguments
from fashion_mlp.config.schema import ImageCSVConfig, ImageFolderConfig
from fashion_mlp.data import ImageDataModule
from fashion_mlp.data.batches import check_batches
from fashion_mlp.dry_run import dry_run
from fashion_mlp.multi_step import MultiStepClassifier
from fashion_mlp.reporting import summary
from fashion_mlp.reporting.tensorboard import SAMPLES, ended, recorded
from fashion_mlp.runtime import oom, ranks, run_directory
from fashion_mlp.runtime.atomic import remove_partial
from fashion_mlp.runtime.console import silence_libraries
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.os_errors import explain_os_errors
from fashion_mlp.runtime.signals import GracefulStop

log = logging.getLogger(__name__)


def train(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    *,
    resumed: bool = False,
    before_fit: Callable[[], None] | None = None,
) -> float:
    """Train, validate, test the best checkpoint once, and record everything in the run's folder.

    Args:
        cfg: the composed configuration, checked by `fashion_mlp.config`.
        overrides: the overrides that it was composed with, which are recorded.
        resumed: whether to resume the run in the directory, to the same bits as if it had not been interrupted.
        before_fit: called when everything is checked and the directory is locked, before anything in it changes.

    Returns:
        The objective of a sweep: the best validation accuracy, or the last training loss where there is no
        validation split.

    Raises:
        UserError: something that the user can mend: data that cannot be had, a device that is not there, a loss that
            became NaN.
        Interrupted: by SIGTERM or Ctrl-C, after saving.
    """
    silence_libraries()
    if not torch.cuda.is_available():
        # Lightning sets this for forked processes with GPUs; without one it makes each optimizer step look for NVML.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    ranks.ignore_slurm_allocation()
    run_dir = run_directory.resolve(cfg.run_dir)
    cfg = _with_absolute_paths(cfg)
    cfg.run_dir = str(run_dir)
    stop = GracefulStop()
    explain_oom = oom.explain_oom(oom.oom_hint(cfg))
    with stop.listening(), explain_os_errors(run_dir, stop), explain_oom, run_directory.removed_unless_started():
        if ranks.is_rank_zero() and not resumed:
            run_directory.create(run_dir)
        with run_directory.lock(run_dir) if ranks.is_rank_zero() else nullcontext():
            return _train(cfg, overrides, run_dir, stop, resumed, before_fit or (lambda: None))


def _train(
    cfg: DictConfig,
    overrides: Sequence[str],
    run_dir: Path,
    stop: GracefulStop,
    resumed: bool,
    before_fit: Callable[[], None],
) -> float:
    seed_everything(cfg.seed, workers=True, verbose=False)
    # With it, distributed strategies would go back to the seed after the weights are drawn.
    del os.environ["PL_GLOBAL_SEED"]
    start = find_initial_checkpoint(cfg, run_dir, resumed=resumed)
    # Overfitting to a few batches means the same ones each epoch.
    datamodule = build("data", cfg, shuffle=cfg.data.get("shuffle", True) and not cfg.trainer.overfit_batches)
    if not isinstance(datamodule, ImageDataModule):
        raise UserError(f"data._target_={cfg.data._target_}: is no ImageDataModule; see fashion_mlp.data")
    trainer = build_trainer(cfg, stop, has_validation=datamodule.has_validation)
    datamodule.prepare_data()
    datamodule.setup("fit")
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set at run time
    if multi_step.supports_multi_step(cfg.trainer, callbacks):
        datamodule.set_batches_per_fetch(cfg.steps_per_execution)
    check_batches(cfg, datamodule, trainer.world_size)
    classifier = build_classifier(cfg, datamodule)
    dry_run(classifier, datamodule.image_shape, trainer.loggers if trainer.is_global_zero else [])
    # Lightning converts the weights only after it has restored them, which would round doubles to 32 bits.
    trainer.precision_plugin.convert_module(classifier)
    if start is not None and not start.is_resumed:
        start.begin(classifier, cfg.trainer.max_epochs)
    if trainer.global_rank > 0:
        torch.manual_seed(cfg.seed + trainer.global_rank)  # masks of dropout of its own

    if trainer.is_global_zero:
        log.info(summary.run_summary(classifier, datamodule, trainer, run_dir, cfg.seed, start))
        before_fit()
        run_directory.keep(run_dir)
        remove_partial(run_dir / run_directory.CHECKPOINTS)
    loggers = trainer.loggers if trainer.is_global_zero else []
    state = start if start is not None and start.is_resumed else None
    if resumed:
        rewind_logs(loggers, run_dir, state.charts if state else {}, state.step if state else 0)
    if state is not None:
        recording = ended(loggers)
    else:
        recording = recorded(loggers, plain(cfg), classifier.model, datamodule.training_samples(SAMPLES))
    with recording:
        if cfg.model.get("compile"):
            classifier.model.compile()
        with misconfiguration_as_user_error("trainer"):
            if trainer.world_size > 1:
                stop.use_default_handlers()  # until the processes have met
            trainer.fit(
                classifier, datamodule, ckpt_path=start.path if start is not None and start.full_state else None
            )
        seconds = time.perf_counter() - classifier.began
        stopped_early = summary.stop_reason(trainer)
        if stopped_early and trainer.is_global_zero:
            log.info(f"stopped early after epoch {trainer.current_epoch}: {stopped_early}")

        chosen = next(iter(find_written_checkpoints(trainer)), None)
        metrics = read_metrics(chosen) if chosen else classifier.logged_metrics()
        if cfg.test:
            # The only time that the test set is read.
            trainer.test(classifier, datamodule, ckpt_path=chosen, verbose=False)
            metrics |= classifier.logged_metrics()
        if trainer.is_global_zero:
            metrics |= {
                "data": datamodule.name,
                "seed": cfg.seed,
                "epochs": trainer.current_epoch,
                "stopped_early": stopped_early,
                "seconds": seconds,
                "samples_per_second": classifier.samples_seen * trainer.world_size / seconds,
                "device": summary.device_name(trainer),
                "parameters": summary.num_parameters(classifier),
                "overrides": list(overrides),
                "checkpoint": chosen and str(_relative(chosen, run_dir)),
                **summary.versions(),
            }
            summary.write_metrics(run_dir / "metrics.json", metrics | {"complete": False})
            for callback in callbacks:
                if isinstance(callback, FinalFigures):
                    callback.save_figures(trainer, classifier)
            summary.write_metrics(run_dir / "metrics.json", metrics | {"complete": True})
    if trainer.is_global_zero:
        has_charts = any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers)
        log.info(summary.results(metrics, chosen, run_dir, has_charts=has_charts))
    objective = OBJECTIVES[0] if datamodule.has_validation else OBJECTIVES[-1]
    if objective not in metrics:
        raise UserError(
            f"{run_dir}: training ended before its first {objective}; raise trainer.max_time or trainer.max_steps, or "
            "lower trainer.check_val_every_n_epoch"
        )
    return float(metrics[objective])


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
    make = partial(MultiStepClassifier, batch_size=datamodule.batch_size) if several else Classifier
    return make(
        model,
        datamodule.class_names,
        optimizer=build("optimizer", cfg, _partial_=True),
        scheduler=build("scheduler", cfg, _partial_=True) if cfg.scheduler else None,
        label_smoothing=cfg.label_smoothing,
        augment=datamodule.augment,
        metadata={
            "version": __version__,
            "model": config,
            "class_names": list(datamodule.class_names),
            "data": datamodule.identity,
            "augment": {"flip": datamodule.augment.hflip, "shift": datamodule.augment.translate},
            "optimizer": plain(cfg.optimizer),
            "scheduler": plain(cfg.scheduler) if cfg.scheduler else None,
            "callbacks.ema": {"decay": OmegaConf.select(cfg, "callbacks.ema.decay")},
        },
    )


def build_trainer(cfg: DictConfig, stop: GracefulStop, *, has_validation: bool) -> Trainer:
    """Build the Trainer with its callbacks and loggers.

    Args:
        cfg: the run's.
        stop: what may ask the run to end, once it has saved.
        has_validation: whether there are images to validate on.
    """
    built = {name: build(f"callbacks.{name}", cfg) for name, config in cfg.callbacks.items() if config}
    callbacks = [callback for callback in built.values() if callback is not None]  # one that is switched off
    for name, callback in built.items():
        if not isinstance(callback, Callback | None):
            raise UserError(f"callbacks.{name}: a {type(callback).__name__} is no callback; see its _target_")
    if not has_validation:  # nothing to choose a best checkpoint by
        callbacks = [callback for callback in callbacks if not _monitors_validation(callback)]
    for callback in callbacks:
        if isinstance(callback, TrainingStateCheckpoint):
            callback.stop = stop
    callbacks.append(LambdaCallback(setup=lambda *_, stage: stop.reinstall()))
    loggers = [build(f"logger.{name}", cfg) for name, config in cfg.logger.items() if config]
    for logger in loggers:
        if not isinstance(logger, Logger):
            raise UserError(f"logger: a {type(logger).__name__} is no logger; see its _target_")
    arguments: dict[str, Any] = {}
    if batches := cfg.trainer.overfit_batches:
        # By itself Lightning would replace the sampler, without which a resumed run does not know its position.
        arguments = {"overfit_batches": 0, "limit_train_batches": batches, "limit_val_batches": batches}
    if not has_validation:
        arguments["limit_val_batches"] = 0
    _check_accelerator(cfg.trainer.accelerator, cfg.trainer.precision)
    arguments["plugins"] = [AtomicCheckpointIO(Path(cfg.run_dir)), *(cfg.trainer.plugins or [])]
    trainer = build("trainer", cfg, callbacks=callbacks, logger=loggers or False, **arguments)
    if not isinstance(trainer, Trainer):
        raise UserError(f"trainer._target_={cfg.trainer._target_}: is no Trainer. Expected lightning.Trainer")
    return trainer


def _check_accelerator(name: str, precision: str | int | None) -> None:
    """Refuse an accelerator that this machine lacks, and float16 on a CPU, in which Lightning would use bfloat16."""
    available = {"cuda": CUDAAccelerator.is_available(), "mps": MPSAccelerator.is_available()}
    available["gpu"] = any(available.values())
    if not available.get(name, True):
        raise UserError(f"trainer.accelerator={name}: not available on this machine. Type trainer=auto or trainer=cpu")
    if str(precision).startswith("16") and (name == "cpu" or not available["gpu"]):
        raise UserError(f"trainer.precision={precision}: needs a GPU. Type trainer.precision=bf16-mixed")


def build(key: str, cfg: Mapping[str, Any], **arguments: Any) -> Any:
    """Instantiate the part of a configuration that `key` names, or `cfg` itself if it is that part.

    Raises:
        UserError: the constructor refused its arguments.
    """
    config = plain(OmegaConf.select(cfg, key)) if isinstance(cfg, DictConfig) else cfg
    try:
        return instantiate(config, **monitor_arguments(config), **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if cause is not None and (isinstance(cause, UserError) or oom.is_oom_error(cause)):
            raise cause from None
        raise UserError(f"{key}: {cause or error}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {error}") from error


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain values, its interpolations resolved."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return cast("dict[str, Any]", container)


def read_metrics(checkpoint: Path) -> dict[str, Any]:
    """Return the metrics that a checkpoint was saved with, and its epoch, counted from 1."""
    content = read_checkpoint(checkpoint)
    return {**content[METADATA_KEY]["metrics"], "epoch": content["epoch"] + 1}


@contextmanager
def misconfiguration_as_user_error(key: str) -> Iterator[None]:
    """Report what Lightning refuses, or has no package for, as the user's mistake, under the key it came from."""
    try:
        yield
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise UserError(f"{key}: {error}") from error


def _with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """Return a configuration with absolute paths if Hydra has changed the working directory."""
    cfg = cfg.copy()
    if HydraConfig.initialized() and HydraConfig.get().job.chdir:
        sources = {"root", *ImageCSVConfig.sources, *ImageFolderConfig.sources}
        for key in ("ckpt_path", *(f"data.{name}" for name in sources)):
            if path := OmegaConf.select(cfg, key):
                OmegaConf.update(cfg, key, to_absolute_path(path))
    return cfg


def _relative(path: Path, run_dir: Path) -> Path:
    """Return a path relative to the run directory, which may be moved; unchanged if it is outside."""
    return path.relative_to(run_dir) if path.is_relative_to(run_dir) else path


def _monitors_validation(callback: object) -> bool:
    return str(getattr(callback, "monitor", None)).startswith("val/")
