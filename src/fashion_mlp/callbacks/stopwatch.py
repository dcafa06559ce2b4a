"""When training began, and how long it took."""

import time
from typing import ClassVar

from lightning import Callback, LightningModule, Trainer


class Stopwatch(Callback):
    """Times the training of a Trainer, from its first hook to its last."""

    # The one that was stopped last: Hydra builds it, and hands it to nobody else.
    last: ClassVar["Stopwatch | None"] = None

    def __init__(self) -> None:
        self.began = 0.0
        self.seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.time()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.time() - self.began
        Stopwatch.last = self
