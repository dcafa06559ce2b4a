"""A grid of the first test images with their predictions."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from torch import Tensor

from fashion_mlp.callbacks.run_end import RunEndCallback
from fashion_mlp.classifier import Classifier
from fashion_mlp.reporting import figures
from fashion_mlp.runtime.failures import warn_on_failure


class PredictionGrid(RunEndCallback):
    """Save the first test images with their predicted and true classes.

    Args:
        path: the image file to write.
        count: number of images, at most those of the first batch.
    """

    def __init__(self, path: str, count: int = 16) -> None:
        self.path = Path(path)
        self.count = count
        self._predicted: tuple[Tensor, Tensor, Tensor] | None = None

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if batch_idx == 0:
            images, labels = (tensor[: self.count].cpu() for tensor in batch)
            self._predicted = images, outputs[: self.count].float().softmax(1).cpu(), labels

    def on_run_end(self, trainer: Trainer, classifier: Classifier) -> None:
        if self._predicted is not None:
            with warn_on_failure(self.path.name):
                figures.save(figures.predictions(*self._predicted, classifier.class_names), self.path)
