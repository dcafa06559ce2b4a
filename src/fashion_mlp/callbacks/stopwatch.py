"""When training began, and how long it took."""

import time
from typing import ClassVar

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override


class Stopwatch(Callback):
    """Times the training of a Trainer, from its first hook to its last."""

    last: ClassVar["Stopwatch | None"] = None
    """The one that was stopped last: Hydra builds it, and hands it to nobody else."""

    def __init__(self) -> None:
        self.began = 0.0
        self.seconds = 0.0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.time()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.time() - self.began
        Stopwatch.last = self
