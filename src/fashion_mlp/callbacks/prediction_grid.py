"""A grid of the first test images with their predictions."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fashion_mlp.classifier import Classifier
from fashion_mlp.reporting import figures
from fashion_mlp.runtime.failures import warn_on_failure


class PredictionGrid(Callback):
    """Save the first test images with their predicted and true classes.

    Args:
        path: the image file to write.
        count: number of images, at most those of the first batch.
    """

    def __init__(self, path: str, count: int = 16) -> None:
        self.path = Path(path)
        self.count = count

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if batch_idx > 0 or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Classifier)
        images, logits, labels = (tensor[: self.count].cpu() for tensor in (batch[0], outputs, batch[1]))
        with warn_on_failure(self.path.name):
            figures.save(
                figures.predictions(images, logits.float().softmax(1), labels, pl_module.class_names), self.path
            )
