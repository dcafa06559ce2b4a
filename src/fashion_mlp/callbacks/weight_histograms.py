"""Histograms of the weights."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from fashion_mlp.runtime.failures import warn_on_failure


class WeightHistograms(Callback):
    """Log a histogram of each weight and bias to TensorBoard.

    Args:
        every_n_epochs: interval in epochs.
    """

    def __init__(self, every_n_epochs: int) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, weight in pl_module.named_parameters():
                    tag = name.removeprefix("model.")
                    with warn_on_failure(f"histogram of {tag}"):
                        logger.experiment.add_histogram(tag, weight, trainer.global_step)
