"""Stop a run whose loss or weights become NaN or infinite."""

import math
from collections.abc import Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from fashion_mlp.callbacks.training_state import find_written_checkpoints
from fashion_mlp.classifier import Classifier
from fashion_mlp.runtime.errors import UserError

# Interval of the check on an accelerator or with several processes, in calls of `training_step`.
CHECK_EVERY_N_CALLS = 50
LOWER_RATE = "Lower optimizer.lr or set trainer.gradient_clip_val"


class TerminateOnNaN(Callback):
    """Stop training when the loss becomes NaN or infinite, and save no checkpoint with such weights.

    A single process on a CPU checks the loss of each step. On an accelerator, or with several processes, this would
    synchronize each step; the loss is checked at intervals and at the end of the epoch. All processes check their mean
    loss and stop together.

    An exploding gradient makes the weights NaN or infinite while its loss is still finite. Therefore the weights are
    checked before validation and before a checkpoint is saved.

    Raises:
        UserError: from a hook, with the step, the learning rate and the last checkpoint.
    """

    needs_step_hooks = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        is_due = (batch_idx + 1) % CHECK_EVERY_N_CALLS == 0 or trainer.is_last_batch
        if is_due or (pl_module.device.type == "cpu" and trainer.world_size == 1):
            self._check_loss(trainer, pl_module, outputs["loss"])
        if trainer.is_last_batch:
            _check_weights(trainer, pl_module, pl_module.state_dict())

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        _check_weights(trainer, pl_module, checkpoint["state_dict"])

    def _check_loss(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if math.isfinite(float(trainer.strategy.reduce(loss.clone(), reduce_op="mean"))):
            return
        assert isinstance(pl_module, Classifier)
        losses = trainer.strategy.reduce(pl_module.train_metrics.losses, reduce_op="mean")
        assert isinstance(losses, Tensor)
        first = int((~losses.isfinite()).nonzero()[0])
        step = trainer.global_step - (len(losses) - 1 - first) // trainer.accumulate_grad_batches
        remedy = LOWER_RATE if step > 1 else "Check the model and the data, since no weight has changed yet"
        _stop(trainer, pl_module, f"the loss is {float(losses[first])}", step, remedy)


def _check_weights(trainer: Trainer, pl_module: LightningModule, weights: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        if weight.is_floating_point() and not weight.isfinite().all():
            _stop(trainer, pl_module, f"the gradient exploded, and {name} is NaN or infinite", trainer.global_step)


def _stop(trainer: Trainer, pl_module: LightningModule, problem: str, step: int, remedy: str = LOWER_RATE) -> None:
    saved = ", ".join(map(str, find_written_checkpoints(trainer)))
    raise UserError(
        f"{problem} in epoch {trainer.current_epoch + 1}, step {step} (learning rate: "
        f"{pl_module.last_learning_rate:g}). {remedy}. "
        + (f"Earlier checkpoints: {saved}" if saved else "No checkpoint was saved yet")
    )
