"""A run, from its configuration to its results."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from fashion_mlp.build.dry_run import dry_run
from fashion_mlp.build.parts import build_classifier, build_datamodule, build_trainer
from fashion_mlp.callbacks.run_progress import get_progress
from fashion_mlp.callbacks.run_records import log_run_end
from fashion_mlp.callbacks.training_state import find_written_checkpoints
from fashion_mlp.checkpoint.initial import InitialCheckpoint, load_initial_checkpoint, load_resume_checkpoint
from fashion_mlp.checkpoint.load import read_checkpoint
from fashion_mlp.checkpoint.run_state import rewind_logs
from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.config.monitoring import TRAINING_OBJECTIVE, objective_value
from fashion_mlp.config.records import METRICS_FILE, run_name, write_metrics
from fashion_mlp.data import ImageDataModule
from fashion_mlp.data.batch_counts import check_batch_counts
from fashion_mlp.multi_step import supports_multi_step
from fashion_mlp.reporting import summary
from fashion_mlp.runtime import ranks, run_directory
from fashion_mlp.runtime.console import silence_libraries
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.failures import explain_failures
from fashion_mlp.runtime.run_directory import CHECKPOINTS
from fashion_mlp.runtime.signals import GracefulStop
from fashion_mlp.runtime.threads import share_cores

log = logging.getLogger(__name__)

OOM_REMEDY = "lower data.batch_size, data.eval_batch_size or model.hidden_sizes, or set trainer.precision=bf16-true"


def train(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    *,
    resumed: bool = False,
    before_first_write: Callable[[], None] = lambda: None,
) -> float:
    """Train, validate, test the best checkpoint once, and save the results in the run directory.

    Args:
        cfg: the composed configuration, checked by `fashion_mlp.config`.
        overrides: the overrides that it was composed with; they are saved with the results.
        resumed: True to resume the run in the directory if it has saved its state, bit-identical to an uninterrupted
            run.
        before_first_write: called after all checks, before anything in the directory changes.

    Returns:
        The objective of a sweep: the best value of `cfg.objective`, or the last training loss if that is its default
        and the data have no validation split.

    Raises:
        UserError: a problem that the user can solve, such as missing data, an absent device, or a loss that is NaN.
        Interrupted: by SIGTERM or Ctrl-C, after saving.
    """
    prepare_process(cfg.seed)
    run_dir = run_directory.resolve(cfg.run_dir)
    cfg = cfg.copy()
    cfg.run_dir = str(run_dir)
    with _open_run(run_dir, resumed=resumed) as stop:
        initial = load_resume_checkpoint(run_dir / CHECKPOINTS) if resumed else None
        initial = initial or load_initial_checkpoint(cfg.ckpt_path, cfg.ckpt_restore)
        datamodule = build_datamodule(cfg)
        trainer = build_trainer(cfg, stop, resumed=initial.is_resumed, has_validation=datamodule.has_validation)
        datamodule.prepare_data()
        datamodule.setup("fit")
        choose_steps(cfg, trainer, datamodule)
        check_batch_counts(cfg, datamodule, trainer.world_size)
        classifier = build_classifier(cfg, datamodule)
        dry_run(classifier, datamodule.image_shape, trainer.loggers if trainer.is_global_zero else [])
        initial.restore_weights(classifier, trainer)
        if trainer.is_global_zero:
            log.info(summary.run_summary(classifier, datamodule, trainer, run_dir, cfg.seed, initial.description))
            before_first_write()
            run_directory.keep(run_dir)
            if resumed:
                rewind_logs(trainer.loggers, run_dir, initial.checkpoint)
        _fit(trainer, classifier, datamodule, initial, stop, cfg.seed)
        metrics = _describe_run(cfg, trainer, classifier, datamodule)
        if trainer.is_global_zero and metrics["stopped_early"]:
            log.info(f"stopped early after epoch {metrics['epochs']}: {metrics['stopped_early']}")
        checkpoint = next(iter(find_written_checkpoints(trainer)), None)  # the best, or the last one without a metric
        metrics |= read_checkpoint_metrics(checkpoint) if checkpoint else classifier.logged_metrics()
        if cfg.test:  # nothing was chosen with the test set
            trainer.test(classifier, datamodule, ckpt_path=checkpoint, verbose=False)
            metrics |= classifier.logged_metrics()
        objective = objective_value(metrics)
        if trainer.is_global_zero:
            path = checkpoint and str(checkpoint).removeprefix(f"{run_dir}{os.sep}")  # the directory may be moved
            metrics |= {"overrides": list(overrides), "checkpoint": path, "complete": True}
            write_metrics(run_dir / METRICS_FILE, metrics)
            log_run_end(trainer.loggers, succeeded=True)
            log.info(summary.results_table(metrics, classifier.plotted_metrics, checkpoint, run_dir, trainer.loggers))
        return objective


def prepare_process(seed: int) -> None:
    """Seed all random number generators, and adapt libraries and environment to this package."""
    silence_libraries()
    seed_everything(seed, workers=True, verbose=False)
    del os.environ["PL_GLOBAL_SEED"]  # with it, a distributed strategy would seed again after the weights are drawn
    if not torch.cuda.is_available():
        # Lightning sets this for forked processes with GPUs. Without a GPU, each optimizer step would look for NVML.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    ranks.ignore_slurm_allocation()


def choose_steps(cfg: DictConfig, trainer: Trainer, datamodule: ImageDataModule) -> None:
    """Let each call of `training_step` run several optimizer steps, unless something needs hooks of each step.

    Raises:
        UserError: `cuda_graph=true`, which needs several steps.
    """
    if supports_multi_step(cfg.trainer, trainer.callbacks, trainer.world_size):  # type: ignore[attr-defined]
        datamodule.set_batches_per_fetch(cfg.steps_per_execution)
    if cfg.cuda_graph and datamodule.batches_per_fetch == 1:
        cause = "an option or callback, such as trainer.gradient_clip_val, needs each step, or the batch is too large"
        raise UserError(f"cuda_graph=true: single steps, since {cause}. Type cuda_graph=false")


@contextmanager
def _open_run(run_dir: Path, *, resumed: bool) -> Iterator[GracefulStop]:
    """Lock the run directory, handle signals, and explain what ends the run early."""
    stop = GracefulStop()
    with stop.install(), explain_failures(OOM_REMEDY, run_dir, stop), run_directory.remove_unless_started():
        if ranks.is_rank_zero() and not resumed:
            run_directory.create(run_dir)  # unless the Hydra callback has created it
        with run_directory.lock(run_dir) if ranks.is_rank_zero() else nullcontext():
            yield stop


def _fit(
    trainer: Trainer,
    classifier: Classifier,
    datamodule: ImageDataModule,
    initial: InitialCheckpoint,
    stop: GracefulStop,
    seed: int,
) -> None:
    """Train the classifier, and report what Lightning does not support as a mistake of the user."""
    if trainer.global_rank > 0:
        torch.manual_seed(seed + trainer.global_rank)  # each rank draws its own dropout masks
    if trainer.world_size > 1:
        stop.use_default_handlers()  # until all ranks have connected
    try:
        with share_cores():
            trainer.fit(classifier, datamodule, ckpt_path=initial.path if initial.restore == "all" else None)
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise UserError(f"trainer: {error}") from error


def read_checkpoint_metrics(checkpoint: Path) -> dict[str, Any]:
    """Return the metrics that a checkpoint was saved with, and its epoch, counted from 1."""
    content = read_checkpoint(checkpoint)
    return {**content[METADATA_KEY]["metrics"], "epoch": content["epoch"] + 1}


def _describe_run(
    cfg: DictConfig, trainer: Trainer, classifier: Classifier, datamodule: ImageDataModule
) -> dict[str, Any]:
    """Return facts about a run for `metrics.json`. Call it before the test, which restores older callback states."""
    progress = get_progress(trainer)
    is_measured = datamodule.has_validation or not cfg.objective.startswith("val/")
    return {
        "name": run_name(_root_=cfg),
        "data": datamodule.name,
        "seed": cfg.seed,
        "objective": cfg.objective if is_measured else TRAINING_OBJECTIVE,
        "epochs": trainer.current_epoch,
        "stopped_early": summary.stop_reason(trainer),
        "seconds": progress.seconds,
        "samples_per_second": progress.samples * trainer.world_size / progress.seconds,
        "device": summary.device_name(trainer),
        "parameters": summary.num_parameters(classifier),
        **summary.versions(),
    }
