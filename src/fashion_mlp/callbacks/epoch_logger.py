"""One line an epoch, on the terminal and in the run's log."""

import logging

from lightning import LightningModule, Trainer

from fashion_mlp.callbacks.epoch_timer import EpochTimer
from fashion_mlp.classifier import Classifier

log = logging.getLogger(__name__)


class EpochLogger(EpochTimer):
    """Log loss and accuracy of each epoch, the learning rate of its last step, and its seconds, in one line.

    Metrics of validation are left out after an epoch without one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._shown = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module)
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module)

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        # Not in on_train_epoch_end: Lightning calls that before the module has logged the epoch.
        epoch = trainer.current_epoch
        if epoch == self._shown or not trainer.is_global_zero:
            return
        self._shown = epoch
        metrics = pl_module.epoch_metrics()
        parts = [f"epoch {epoch}/{trainer.max_epochs}"]
        for stage in ("train", "val", "train_after_epoch", "test_after_epoch"):
            if f"{stage}/loss" in metrics:
                name = stage.replace("_", " ")
                parts.append(f"{name} loss {metrics[f'{stage}/loss']:.4f} acc {metrics[f'{stage}/acc']:.4f}")
        parts.append(f"lr {pl_module.learning_rates[-1]:.2e}")
        parts.append(f"{self.seconds:.1f} s")
        log.info("   ".join(parts))
