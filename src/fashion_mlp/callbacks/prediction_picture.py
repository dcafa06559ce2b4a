"""A picture of the first test images with their predictions, in the run's folder."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from fashion_mlp import figures
from fashion_mlp.classifier import Classifier


class PredictionPicture(Callback):
    """Saves the first test images with predicted and true classes, after the test.

    Args:
        path: the picture file to write.
        count: how many images, at most a batch.
    """

    def __init__(self, path: str, count: int = 16) -> None:
        self.path = Path(path)
        self.count = count
        self._batch: tuple[Tensor, Tensor] | None = None

    @override
    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0:
            images, labels = batch
            self._batch = images[: self.count].cpu(), labels[: self.count].cpu()

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._batch is None or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Classifier)
        images, labels = self._batch
        _, probabilities = pl_module.predict(images)
        figures.save(figures.predictions(images, probabilities, labels, pl_module.class_names), self.path)
