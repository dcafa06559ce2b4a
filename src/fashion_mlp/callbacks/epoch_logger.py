"""One log line per epoch."""

import logging

from lightning import Callback, LightningModule, Trainer

from fashion_mlp.callbacks.run_progress import get_progress
from fashion_mlp.classifier import Classifier
from fashion_mlp.config.monitoring import METRICS

log = logging.getLogger(__name__)


class EpochLogger(Callback):
    """Log the metrics of each epoch, the learning rate of its last step, and its seconds.

    Validation metrics are omitted after an epoch without validation.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._logged_epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, pl_module)  # `on_train_epoch_end` is called before the metrics are logged

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, pl_module)

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        epoch, progress = trainer.current_epoch, get_progress(trainer)
        if epoch == self._logged_epoch or not trainer.is_global_zero:
            return
        self._logged_epoch = epoch
        metrics = progress.logged_metrics(trainer)
        parts = [f"epoch {epoch}/{trainer.max_epochs}"]
        for stage in ("train", "val", "train_after_epoch", "test_after_epoch"):
            if f"{stage}/loss" in metrics:
                values = [f"{metric.name} {metrics[f'{stage}/{metric.name}']:.4f}" for metric in METRICS]
                parts.append(" ".join([stage.replace("_", " "), *values]))
        parts += [f"lr {pl_module.learning_rates[-1]:.2e}", f"{progress.epoch_seconds:.1f} s"]
        log.info("   ".join(parts))
