"""The seconds of an epoch."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class EpochTimer(Callback):
    """Measure the seconds of the current epoch; those before an interruption are included."""

    def __init__(self) -> None:
        self._started = 0.0
        self._seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """The seconds since the epoch started."""
        return time.perf_counter() - self._started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter() - self._seconds_before

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = state_dict["seconds"]
