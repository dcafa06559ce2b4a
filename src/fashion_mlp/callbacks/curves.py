"""The curves of a run as a picture, for those who open no TensorBoard."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from fashion_mlp import figures


class Curves(Callback):
    """Saves loss and accuracy of training and validation over the epochs that this process ran.

    Args:
        path: the PNG file to write, at the end of training.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._epochs: list[int] = []
        self._history: dict[str, list[float]] = {}

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._epochs:  # what the epoch before came to is logged only after its last hook
            self._note(trainer)
        self._epochs.append(trainer.current_epoch + 1)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._epochs or not trainer.is_global_zero:
            return
        self._note(trainer)
        figures.save(figures.curves(self._epochs, self._history), self.path)

    def _note(self, trainer: Trainer) -> None:
        for name in ("train/loss", "val/loss", "train/acc", "val/acc"):
            if name in trainer.callback_metrics:
                self._history.setdefault(name, []).append(float(trainer.callback_metrics[name]))
