"""One line an epoch, on the terminal and in the run's log."""

import logging
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from fashion_mlp.classifier import Classifier

log = logging.getLogger(__name__)


class EpochLines(Callback):
    """Log loss and accuracy of each epoch, the learning rate of its last step, and its seconds, in one line.

    Metrics of validation are left out after an epoch without one.
    """

    def __init__(self) -> None:
        self._started = 0.0
        self._seconds_before = 0.0
        self._shown = 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown = trainer.current_epoch
        self._started = time.perf_counter() - self._seconds_before

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module)
        self._started = time.perf_counter()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seconds": time.perf_counter() - self._started}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = state_dict["seconds"]

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
        parts.append(f"{time.perf_counter() - self._started:.1f} s")
        log.info("   ".join(parts))
