"""The norm of the gradient."""

from lightning import Callback, LightningModule, Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


class GradientNorm(Callback):
    """Log `train/gradient_norm`, the Euclidean norm over all parameters before clipping.

    With it, each call of `training_step` runs one optimizer step.

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
                logger.log_metrics({"train/gradient_norm": norm}, step)
