"""How fast a run trains."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from fashion_mlp.classifier import Classifier


class Throughput(Callback):
    """Logs `samples_per_second` of each training epoch, its validation left out, over all processes."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._since = 0.0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seconds, self._since = 0.0, time.perf_counter()

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seconds += time.perf_counter() - self._since

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        seconds = self._seconds + time.perf_counter() - self._since
        rate = pl_module.train_metrics.num_samples * trainer.world_size / seconds
        for logger in trainer.loggers:
            logger.log_metrics({"samples_per_second": rate}, trainer.global_step)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._seconds + time.perf_counter() - self._since}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds = state_dict["seconds"]
