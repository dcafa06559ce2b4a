"""How fast a run trains."""

import time

from lightning import LightningModule, Trainer

from fashion_mlp.callbacks.epoch_timer import EpochTimer
from fashion_mlp.classifier import Classifier


class Throughput(EpochTimer):
    """Log `samples_per_second` of each training epoch, its validation left out, over all processes."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started += time.perf_counter() - self._validation_started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        rate = pl_module.train_metrics.num_samples * trainer.world_size / self.seconds
        for logger in trainer.loggers:
            logger.log_metrics({"samples_per_second": rate}, trainer.global_step)
