"""The state from which an interrupted run goes on to the same bits."""

import logging
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, GradientAccumulationScheduler, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from fashion_mlp.checkpoint.log_files import flush_loggers
from fashion_mlp.checkpoint.rng import random_state, set_rng_state
from fashion_mlp.classifier import Classifier
from fashion_mlp.runtime.run_directory import LAST, PREVIOUS
from fashion_mlp.runtime.signals import GracefulStop, Interrupted

log = logging.getLogger(__name__)

# Batches after which several processes look, together, whether to save: it takes a message among them.
AGREE_EVERY = 16


class TrainingStateCheckpoint(Checkpoint):
    """Writes `last.ckpt` after each epoch and, if asked to, within one; the one before stays as `previous.ckpt`.

    Lightning's own checkpoints are written while an epoch ends, before its last points are logged and its schedule is
    stepped, and hold no random numbers. This one is written only where all that came before is done: before a call of
    `training_step`, or before an epoch begins. So a run that takes several steps a call can be some steps late.

    Args:
        dirpath: the folder to write to.
        every_n_steps: optimizer steps after which it is written within an epoch; None for never.
        every_n_seconds: likewise seconds.

    Raises:
        Interrupted: from the hooks, after saving, when a signal asked for it.
    """

    def __init__(
        self, dirpath: str | Path, every_n_steps: int | None = None, every_n_seconds: float | None = None
    ) -> None:
        self.dirpath = Path(dirpath)
        self.path = self.dirpath / LAST
        self.every_n_steps = every_n_steps
        self.every_n_seconds = every_n_seconds
        # What asks the run to end; nothing does, unless somebody puts a request here that listens.
        self.stop = GracefulStop()
        self._saved_step = 0
        self._saved_at = 0.0
        self._is_saving = False
        self._charts: dict[str, int] = {}
        self._loaded: Mapping[str, Any] | None = None
        self._batches: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.reinstall()
        self.stop.is_deferred = True
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        if self._loaded is not None:
            trainer.callback_metrics.update(self._loaded["metrics"])
            if (own := _own(trainer, self._loaded)) is not None:
                set_rng_state(own["random"], pl_module.device)
            # Else Lightning would leave out a plateau's step at the end of an epoch that was interrupted, since its own
            # checkpoints know no metrics.
            trainer.fit_loop._restarting = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > self._saved_step:
            self._save(trainer)
        self._raise_if_asked(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._loaded is not None:
            self._finish_resuming(trainer)
        if batch_idx % trainer.accumulate_grad_batches:  # gradients are not saved
            return
        if trainer.world_size > 1 and batch_idx % AGREE_EVERY:
            return
        if _any_process(trainer, self.stop.signum is not None or self._is_due(trainer)):
            self._save(trainer)
            self._raise_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        self.stop.is_deferred = False
        self._raise_if_asked(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.stop.is_deferred = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        assert isinstance(pl_module, Classifier)
        own = {"random": random_state(pl_module.device), "progress": pl_module.progress()}
        checkpoint["callbacks"][self.state_key] = {
            "processes": _of_all_processes(trainer, own),
            "metrics": dict(trainer.callback_metrics),
            "is_stopped": trainer.should_stop,
            "charts": self._charts,
        }
        if self._is_saving:
            _put_between_batches(checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn is not TrainerFn.FITTING:
            return
        self._loaded = checkpoint["callbacks"].get(self.state_key)
        if self._loaded is None:
            return
        assert isinstance(pl_module, Classifier)
        if (own := _own(trainer, self._loaded)) is not None:
            pl_module.go_on(own["progress"])
        if Path(str(trainer.ckpt_path)).parent == self.dirpath:  # the run is resumed
            self._batches = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"]
            trainer.should_stop = self._loaded["is_stopped"]  # it had ended early, and only its test is missing
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.state_key in checkpoint["callbacks"]:
                    _relocate(checkpoint["callbacks"], callback)

    def _finish_resuming(self, trainer: Trainer) -> None:
        """Correct what Lightning leaves out where it resumes within an epoch."""
        self._loaded = None
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set at run time
            if isinstance(callback, GradientAccumulationScheduler):
                callback.on_train_epoch_start(trainer)
        if self._batches is not None:  # Lightning counts one too many after a validation within the epoch
            trainer.fit_loop.epoch_loop._batches_that_stepped = self._batches

    def _is_due(self, trainer: Trainer) -> bool:
        steps = trainer.global_step - self._saved_step
        seconds = time.monotonic() - self._saved_at
        return steps > 0 and (
            (self.every_n_steps is not None and steps >= self.every_n_steps)
            or (self.every_n_seconds is not None and seconds >= self.every_n_seconds)
        )

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set at run time
            return
        self._charts = flush_loggers(trainer.loggers)
        written = self.dirpath / "new.ckpt"
        self._is_saving = True
        try:
            trainer.save_checkpoint(written)
        finally:
            self._is_saving = False
        if trainer.is_global_zero:
            if self.path.exists():
                self.path.replace(self.dirpath / PREVIOUS)
            written.replace(self.path)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def _raise_if_asked(self, trainer: Trainer) -> None:
        if _any_process(trainer, self.stop.signum is not None):
            signum = self.stop.signum or signal.SIGTERM  # another process was asked
            raise Interrupted(signum, f"interrupted after step {trainer.global_step}")


def _any_process(trainer: Trainer, decision: bool) -> bool:
    """Return whether any of the processes has decided so: they save and end together."""
    return trainer.strategy.reduce_boolean_decision(decision, all=False)


def _of_all_processes(trainer: Trainer, value: Any) -> list[Any]:
    if trainer.world_size == 1:
        return [value]
    values = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def _own(trainer: Trainer, loaded: Mapping[str, Any]) -> Any:
    """Return what a checkpoint holds of this process; None if it was written by another number of them."""
    processes = loaded["processes"]
    return processes[trainer.global_rank] if len(processes) == trainer.world_size else None


def find_written_checkpoints(trainer: Trainer) -> list[Path]:
    """Return the checkpoints that this run has written: the best, then the last, then those chosen by no metric."""
    best: list[Path] = []
    others: list[Path] = []
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            path = Path(callback.best_model_path)
            # A run that starts from the checkpoint of another also gets the path of the other's best one.
            if path.is_relative_to(str(callback.dirpath)):
                (best if callback.monitor else others).append(path)
    last = [callback.path for callback in trainer.checkpoint_callbacks if isinstance(callback, TrainingStateCheckpoint)]
    for path in best:
        if not path.exists():
            log.warning(f"{path}: missing; the last checkpoint takes its place")
    return [path for path in (*best, *last, *others) if path.exists()]


def _relocate(states: dict[str, Any], callback: ModelCheckpoint) -> None:
    """Update the paths in the state of a `ModelCheckpoint`: the run directory may have been moved.

    Without its best checkpoint the state is dropped: the best one of the remaining epochs is kept then.
    """
    old, new = Path(states[callback.state_key]["dirpath"]), Path(str(callback.dirpath))

    def relocated(value: Any) -> Any:
        if isinstance(value, dict):
            return {relocated(key): relocated(item) for key, item in value.items()}
        is_inside = isinstance(value, str) and Path(value).is_relative_to(old)
        return str(new / Path(value).relative_to(old)) if is_inside else value

    state = states[callback.state_key] = relocated(states[callback.state_key])
    if state["best_model_path"] and not Path(state["best_model_path"]).exists():
        log.warning(f"{state['best_model_path']}: missing; the best checkpoint is chosen among the remaining epochs")
        del states[callback.state_key]


def _put_between_batches(checkpoint: dict[str, Any]) -> None:
    """Say in a checkpoint that no epoch or batch has been begun which is not done.

    Lightning counts one as begun before the hooks in which this is called, and tells by such differences where in its
    loops a run was interrupted.
    """
    loop = checkpoint["loops"]["fit_loop"]
    epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
    for part in ("total", "current"):
        batches[part]["ready"] = batches[part]["completed"]
        if epochs[part]["started"] == epochs[part]["completed"]:
            epochs[part]["ready"] = epochs[part]["completed"]
    batches["is_last_batch"] = False
    if epochs["current"]["ready"] == epochs["current"]["completed"]:
        batches["current"] = dict.fromkeys(batches["current"], 0)
        checkpoint["epoch"] -= 1  # that of the weights, as in Lightning's own
