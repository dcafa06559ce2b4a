"""A loss that is NaN or infinite ends the run."""

import math
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from typing_extensions import override

from fashion_mlp.callbacks.last_checkpoint import LastCheckpoint
from fashion_mlp.classifier import Classifier
from fashion_mlp.errors import UserError


class NonFiniteLoss(Callback):
    """Stops training when the loss becomes NaN or infinite, before a checkpoint is overwritten.

    A process on a CPU looks at each step. On an accelerator or among several processes that would make every step wait,
    so there it is every `every_n_steps`, and the last step of an epoch, after which checkpoints are written. All
    processes look at their common mean, and end together.

    Args:
        every_n_steps: how often an accelerator's loss, or that of several processes, is looked at.

    Raises:
        UserError: from the hook, with the step, the learning rate and the last good checkpoint.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        is_due = (batch_idx + 1) % self.every_n_steps == 0 or trainer.is_last_batch
        if not (is_due or (pl_module.device.type == "cpu" and trainer.world_size == 1)):
            return
        if math.isfinite(float(trainer.strategy.reduce(outputs["loss"].clone(), reduce_op="mean"))):
            return
        assert isinstance(pl_module, Classifier)
        losses = trainer.strategy.reduce(pl_module.train_metrics.losses, reduce_op="mean")
        assert isinstance(losses, Tensor)
        first = int((~losses.isfinite()).nonzero()[0])
        step = trainer.global_step - len(losses) + first + 1
        callbacks = trainer.checkpoint_callbacks
        saved = {callback.best_model_path for callback in callbacks if isinstance(callback, ModelCheckpoint)} - {""}
        last = [callback.path for callback in callbacks if isinstance(callback, LastCheckpoint)]
        saved |= {str(path) for path in last if path.exists()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        raise UserError(
            f"the loss became {float(losses[first])} in epoch {trainer.current_epoch + 1}, step {step}, at a learning "
            f"rate of {rate:g}: lower optimizer.lr or set trainer.gradient_clip_val. "
            + (f"Good until then: {', '.join(sorted(saved))}" if saved else "No checkpoint had been written yet")
        )
