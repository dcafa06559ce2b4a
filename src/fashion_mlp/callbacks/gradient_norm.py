"""The norm of the gradient."""

from lightning import Callback, LightningModule, Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


class GradientNorm(Callback):
    """Log `gradient_norm`, the Euclidean norm over all parameters before clipping.

    It needs a hook of each step, so a call of `training_step` runs one step only.

    Args:
        every_n_steps: interval in optimizer steps.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        step = trainer.global_step + 1
        if step % self.every_n_steps == 0:
            gradients = [weight.grad for weight in pl_module.parameters() if weight.grad is not None]
            norm = float(get_total_norm(gradients))
            for logger in trainer.loggers:
                logger.log_metrics({"gradient_norm": norm}, step)


def gradient_norm(every_n_steps: int | None) -> GradientNorm | None:
    """Return the callback, or None if it is disabled, since its presence disables multi-step execution."""
    return GradientNorm(every_n_steps) if every_n_steps else None
