"""One line an epoch, on the terminal and in the run's log."""

import logging
import time

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

log = logging.getLogger(__name__)


class EpochLines(Callback):
    """Logs loss and accuracy of each epoch, its learning rate and its seconds, in one line."""

    def __init__(self) -> None:
        self._started = 0.0
        self._pending = False

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flush(trainer, trainer.current_epoch)
        self._started = time.perf_counter()
        self._pending = True

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flush(trainer, trainer.current_epoch)

    def _flush(self, trainer: Trainer, epoch: int) -> None:
        # Not in on_train_epoch_end: Lightning calls that before the module has logged the epoch.
        if not self._pending or not trainer.is_global_zero:
            return
        self._pending = False
        metrics = trainer.callback_metrics
        parts = [f"epoch {epoch}/{trainer.max_epochs}"]
        for stage in ("train", "val", "train_after_epoch", "test_after_epoch"):
            if f"{stage}/loss" in metrics:
                name = stage.replace("_", " ")
                parts.append(f"{name} loss {metrics[f'{stage}/loss']:.4f} acc {metrics[f'{stage}/acc']:.4f}")
        parts.append(f"lr {trainer.optimizers[0].param_groups[0]['lr']:.2e}")
        parts.append(f"{time.perf_counter() - self._started:.1f} s")
        log.info("   ".join(parts))
