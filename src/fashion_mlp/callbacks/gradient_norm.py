"""The length of the gradient."""

from lightning import Callback, LightningModule, Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


class GradientNorm(Callback):
    """Logs `gradient_norm`, the Euclidean norm over all parameters before clipping, every `every_n_steps` steps.

    Since it looks at each step, a run with it takes one step a call.
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
    """Return the callback, or None where it is switched off: its mere presence costs a run its fast path."""
    return GradientNorm(every_n_steps) if every_n_steps else None
