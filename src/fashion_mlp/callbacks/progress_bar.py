"""The progress bar on a terminal."""

import sys
import time
from multiprocessing import parent_process
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class ProgressBar(TQDMProgressBar):
    """Lightning's bar, shortened to 80 columns, that is erased when it is complete.

    It is redrawn at intervals of time and shows no counts, since Lightning counts calls of `training_step`, which run
    up to 64 optimizer steps each. It is disabled if the output is redirected, except in a notebook, or shared by
    parallel jobs of a sweep.

    Args:
        refresh_rate: largest number of redraws per second.
    """

    BAR_FORMAT = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"

    def __init__(self, refresh_rate: int = 10) -> None:
        is_shown = sys.stdout.isatty() or "ipykernel" in sys.modules  # a terminal or a notebook
        super().__init__(refresh_rate=int(is_shown and parent_process() is None))
        self._interval = 1 / refresh_rate
        self._drawn = 0.0
        self._current: Tqdm | None = None

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        labels = {"train/loss_step": "loss"} | {name: name for name in metrics if name.startswith("val/")}
        return {label: metrics[name] for name, label in labels.items() if name in metrics}

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
        return Tqdm(disable=True)  # validation is too short for a bar

    def init_test_tqdm(self) -> Tqdm:
        return self._transient(super().init_test_tqdm())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._current is not None:
            self._current.close()  # otherwise the error message would be on the same line

    def _transient(self, bar: Tqdm) -> Tqdm:
        bar.leave = False
        self._current = bar
        return bar
