"""The progress bar, on a terminal."""

import sys
import time
from multiprocessing import parent_process
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class _Bar(TQDMProgressBar):
    """Lightning's bar, short enough for 80 columns, which vanishes when its work is done.

    It follows the clock and counts nothing: a batch of Lightning's holds one optimizer step or up to 64.
    """

    BAR_FORMAT = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"

    def __init__(self, redraws_per_second: int) -> None:
        super().__init__(refresh_rate=1)
        self._interval = 1 / redraws_per_second
        self._drawn = 0.0
        self._shown: Tqdm | None = None

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        shown = {"loss": "train/loss_step", "val/acc": "val/acc"}
        return {name: metrics[key] for name, key in shown.items() if key in metrics}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch or time.monotonic() - self._drawn >= self._interval:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            self._drawn = time.monotonic()

    def init_train_tqdm(self) -> Tqdm:
        return self._transient(super().init_train_tqdm())

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)  # too short to be read

    def init_test_tqdm(self) -> Tqdm:
        return self._transient(super().init_test_tqdm())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._shown is not None:
            self._shown.close()  # else the error's message would follow it on the same line

    def _transient(self, bar: Tqdm) -> Tqdm:
        bar.leave = False
        self._shown = bar
        return bar


def progress_bar(refresh_rate: int = 10) -> TQDMProgressBar:
    """Return a bar for a terminal; none where output is redirected or shared, as by parallel jobs of a sweep.

    Args:
        refresh_rate: how often in a second it is redrawn at most.
    """
    if sys.stdout.isatty() and parent_process() is None:
        return _Bar(refresh_rate)
    return TQDMProgressBar(refresh_rate=0)  # which shows nothing; without it Lightning would add a bar
