"""The callback that saves and restores the state of a run, from which it resumes bit-identically."""

import logging
import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, GradientAccumulationScheduler, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from fashion_mlp.checkpoint.run_state import flush_loggers, get_rng_state, set_rng_state
from fashion_mlp.classifier import Classifier
from fashion_mlp.runtime.atomic import remove_partial
from fashion_mlp.runtime.run_directory import LAST, PREVIOUS
from fashion_mlp.runtime.signals import GracefulStop, Interrupted

log = logging.getLogger(__name__)

# Several processes decide together whether to save, which takes a collective operation: once in so many batches.
DECIDE_EVERY_N_CALLS = 16


class TrainingStateCheckpoint(Checkpoint):
    """Save `last.ckpt` after each epoch and at intervals within it; keep the one before as `previous.ckpt`.

    Lightning saves its checkpoints at the end of an epoch, before its last metrics are logged and its schedule is
    stepped, and without the states of random number generators. This callback saves between two calls of
    `training_step` or between two epochs only. A call that runs several steps can therefore delay it by some steps.

    Args:
        dirpath: directory of the checkpoints.
        stop: receives the signals that ask the run to stop.
        every_n_steps: interval within an epoch, in optimizer steps; None for no such interval.
        every_n_seconds: interval within an epoch, in seconds; None for no such interval.

    Raises:
        Interrupted: from a hook, after saving, if a signal was received.
    """

    state_key = "training_state"
    needs_step_hooks = False

    def __init__(
        self, dirpath: Path, stop: GracefulStop, *, every_n_steps: int | None, every_n_seconds: float | None
    ) -> None:
        self.dirpath = dirpath
        self.path = dirpath / LAST
        self.stop = stop
        self.every_n_steps = every_n_steps or math.inf
        self.every_n_seconds = every_n_seconds or math.inf
        self._log_sizes: dict[str, int] | None = None  # while this callback saves
        self._loaded: Mapping[str, Any] | None = None
        self._batches: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.stop.reinstall()
        if stage == "fit" and trainer.is_global_zero:
            remove_partial(self.dirpath)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.reinstall()
        self.stop.is_deferred = True
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        if self._loaded is not None:
            trainer.callback_metrics.update(self._loaded["metrics"])
            ranks = self._loaded["ranks"]
            if len(ranks) == trainer.world_size:  # otherwise the states do not belong to these ranks
                rank_state = ranks[trainer.global_rank]
                assert isinstance(pl_module, Classifier)
                pl_module.load_epoch_state_dict(rank_state["epoch"])
                set_rng_state(rank_state["rng"], pl_module.device)
            _end_restart(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > self._saved_step:
            self._save(trainer)
        self._raise_if_interrupted(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._loaded is not None:
            self._finish_resuming(trainer)
        if batch_idx % trainer.accumulate_grad_batches:  # accumulated gradients are not saved
            return
        if trainer.world_size > 1 and batch_idx % DECIDE_EVERY_N_CALLS:
            return
        if _any_rank(trainer, self.stop.signum is not None or self._is_due(trainer)):
            self._save(trainer)
            self._raise_if_interrupted(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        self.stop.is_deferred = False
        self._raise_if_interrupted(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.stop.is_deferred = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        assert isinstance(pl_module, Classifier)
        rank_state = {"rng": get_rng_state(pl_module.device), "epoch": pl_module.epoch_state_dict()}
        checkpoint["callbacks"][self.state_key] = {
            "ranks": _gather(trainer, rank_state),
            "metrics": dict(trainer.callback_metrics),
            "should_stop": trainer.should_stop,
        }
        if self._log_sizes is not None:
            checkpoint["log_sizes"] = self._log_sizes
            _mark_batch_boundary(checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn is not TrainerFn.FITTING:
            return
        self._loaded = checkpoint["callbacks"].get(self.state_key)
        if self._loaded is not None and Path(str(trainer.ckpt_path)).parent == self.dirpath:  # the run is resumed
            self._batches = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"]
            trainer.should_stop = self._loaded["should_stop"]  # True if it stopped early, and only its test is missing
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.state_key in checkpoint["callbacks"]:
                    _relocate_paths(checkpoint["callbacks"], callback)

    def _finish_resuming(self, trainer: Trainer) -> None:
        """Restore what Lightning does not restore within an epoch, for which it has no public interface."""
        self._loaded = None
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set at run time
            if isinstance(callback, GradientAccumulationScheduler):
                callback.on_train_epoch_start(trainer)
        if self._batches is not None:  # too large by one after a validation within the epoch
            trainer.fit_loop.epoch_loop._batches_that_stepped = self._batches

    def _is_due(self, trainer: Trainer) -> bool:
        steps, seconds = trainer.global_step - self._saved_step, time.monotonic() - self._saved_at
        return steps > 0 and (steps >= self.every_n_steps or seconds >= self.every_n_seconds)

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set at run time
            return
        self._log_sizes = flush_loggers(trainer.loggers)
        written = self.dirpath / "new.ckpt"
        try:
            trainer.save_checkpoint(written)
        finally:
            self._log_sizes = None
        if trainer.is_global_zero:
            if self.path.exists():
                self.path.replace(self.dirpath / PREVIOUS)
            written.replace(self.path)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def _raise_if_interrupted(self, trainer: Trainer) -> None:
        if _any_rank(trainer, self.stop.signum is not None):
            signum = self.stop.signum or signal.SIGTERM  # another rank received one
            raise Interrupted(signum, f"interrupted after step {trainer.global_step}")


def _end_restart(trainer: Trainer) -> None:
    """Let the fit loop step a plateau schedule at the end of a resumed epoch.

    Lightning skips it, since its own checkpoints contain no metrics, and has no public attribute to change that.
    """
    trainer.fit_loop._restarting = False


def _any_rank(trainer: Trainer, decision: bool) -> bool:
    """Return True if the decision of any rank is True, so that all of them save and stop together."""
    return trainer.strategy.reduce_boolean_decision(decision, all=False)


def _gather(trainer: Trainer, value: Any) -> list[Any]:
    """Return the values of all ranks."""
    if trainer.world_size == 1:
        return [value]
    values = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def find_written_checkpoints(trainer: Trainer) -> list[Path]:
    """Return the checkpoints that this run has saved: the best ones, the last one, then those without a metric."""
    best: list[Path] = []
    others: list[Path] = []
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            path = Path(callback.best_model_path)
            # A run that starts from another run's checkpoint also restores the path of the other's best one.
            if path.is_relative_to(str(callback.dirpath)):
                (best if callback.monitor else others).append(path)
    last = [callback.path for callback in trainer.checkpoint_callbacks if isinstance(callback, TrainingStateCheckpoint)]
    return [path for path in (*best, *last, *others) if path.exists()]


def _relocate_paths(states: dict[str, Any], callback: ModelCheckpoint) -> None:
    """Update the paths in the state of a `ModelCheckpoint`, since the run directory may have been moved.

    If its best checkpoint is missing, drop the state. The best checkpoint is then that of the remaining epochs.
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


def _mark_batch_boundary(checkpoint: dict[str, Any]) -> None:
    """Set the loop counters of a checkpoint to the state between two batches or epochs.

    Lightning increments `ready` before the hooks that save, and uses the difference to `completed` to find the place in
    its loops where a run was interrupted.
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
        checkpoint["epoch"] -= 1  # the epoch of the weights, as in Lightning's checkpoints
