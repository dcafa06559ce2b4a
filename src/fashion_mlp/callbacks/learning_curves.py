"""The learning curves as a figure."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fashion_mlp.callbacks.run_progress import get_progress
from fashion_mlp.config.monitoring import MONITORED
from fashion_mlp.reporting import figures
from fashion_mlp.runtime.failures import warn_on_failure


class LearningCurves(Callback):
    """Save the metrics of training and validation over the epochs.

    Args:
        path: the image file to write.
    """

    state_key = "learning_curves"

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._history: dict[int, dict[str, float]] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record(trainer)  # metrics of an epoch are logged after its last hook

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._history and trainer.is_global_zero:
            history = {name: [metrics.get(name) for metrics in self._history.values()] for name in MONITORED}
            with warn_on_failure(self.path.name):
                figures.save(figures.curves(list(self._history), history), self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self._history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._history = state_dict["history"]

    def _record(self, trainer: Trainer) -> None:
        metrics = get_progress(trainer).logged_metrics(trainer)
        if "train/loss" in metrics:
            self._history.setdefault(trainer.current_epoch, metrics)  # a resumed run has recorded it already
