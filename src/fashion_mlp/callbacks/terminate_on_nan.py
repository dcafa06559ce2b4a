"""A loss or weights that are NaN or infinite end the run."""

import math
from collections.abc import Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from fashion_mlp.checkpoint.training_state import find_written_checkpoints
from fashion_mlp.classifier import Classifier
from fashion_mlp.runtime.errors import UserError

LOWER_RATE = "lower optimizer.lr or set trainer.gradient_clip_val"


class TerminateOnNaN(Callback):
    """Stops training when the loss becomes NaN or infinite, and lets no checkpoint be written with such weights.

    A process on a CPU looks at each step. On an accelerator or among several processes that would make every step wait,
    so there it looks once in `every_n_batches`, and at the end of an epoch, after which checkpoints are written. All
    processes look at their common mean, and end together.

    A gradient that explodes ruins the weights while the loss that it came from is still finite. The next loss shows
    it; before validation and before a checkpoint is written, the weights themselves are looked at.

    Args:
        every_n_batches: how often an accelerator's loss, or that of several processes, is looked at; a batch of
            Lightning's may hold several steps.

    Raises:
        UserError: from the hook, with the step, the learning rate and the last good checkpoint.
    """

    def __init__(self, every_n_batches: int = 50) -> None:
        self.every_n_batches = every_n_batches

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        is_due = (batch_idx + 1) % self.every_n_batches == 0 or trainer.is_last_batch
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
        step = trainer.global_step - len(losses) + first + 1
        before = f" (a step before it was {float(losses[first - 1]):.3g})" if first else ""
        remedy = LOWER_RATE if first or step > 1 else "no weight has changed yet, so check the model and the data"
        rate = pl_module.learning_rates[first - len(losses)]
        _stop(trainer, f"the loss became {float(losses[first])}", step, rate, before, remedy)


def _check_weights(trainer: Trainer, pl_module: LightningModule, weights: Mapping[str, Tensor]) -> None:
    assert isinstance(pl_module, Classifier)
    for name, weight in weights.items():
        if weight.is_floating_point() and not weight.isfinite().all():
            what = f"the gradient exploded and {name} became NaN or infinite"
            _stop(trainer, what, trainer.global_step, pl_module.learning_rates[-1])


def _stop(trainer: Trainer, what: str, step: int, rate: float, before: str = "", remedy: str = LOWER_RATE) -> None:
    saved = find_written_checkpoints(trainer)
    raise UserError(
        f"{what} in epoch {trainer.current_epoch + 1}, step {step}, at a learning rate of {rate:g}{before}: {remedy}. "
        + (f"Good until then: {', '.join(map(str, saved))}" if saved else "No checkpoint had been written yet")
    )
