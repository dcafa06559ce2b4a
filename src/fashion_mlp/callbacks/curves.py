"""The curves of a run as a picture, for those who open no TensorBoard."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from typing_extensions import override

from fashion_mlp import figures
from fashion_mlp.callbacks.final_figures import FinalFigures
from fashion_mlp.classifier import Classifier
from fashion_mlp.faults import warn_on_failure


class Curves(FinalFigures):
    """Saves loss and accuracy of training and validation over the epochs.

    Args:
        path: the picture file to write.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._epochs: list[int] = []
        self._history: dict[str, list[float | None]] = {}
        self._finished: tuple[list[int], dict[str, list[float | None]]] | None = None
        """Both after training: the checkpoint that is tested brings those of its own epoch."""

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, pl_module)  # what the epoch before came to is logged only after its last hook

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, pl_module)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finished = list(self._epochs), {name: list(values) for name, values in self._history.items()}

    @override
    def save_figures(self, trainer: Trainer, classifier: Classifier) -> None:
        if self._finished is not None and self._finished[0]:
            with warn_on_failure(self.path.name):
                figures.save(figures.curves(*self._finished), self.path)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self._epochs, "history": self._history}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._epochs, self._history = state_dict["epochs"], state_dict["history"]

    def _note(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        metrics = pl_module.epoch_metrics()
        if "train/loss" not in metrics or trainer.current_epoch in self._epochs:  # none yet, or noted before a stop
            return
        self._epochs.append(trainer.current_epoch)
        for name in ("train/loss", "val/loss", "train/acc", "val/acc"):
            self._history.setdefault(name, [None] * (len(self._epochs) - 1)).append(metrics.get(name))
