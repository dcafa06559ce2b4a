"""Figures of an evaluation: the confusion matrix, the first predictions and the most confident mistakes."""

from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from fashion_mlp.classifier import Classifier
from fashion_mlp.inference.evaluate import EvalOutput, confusion_matrix, most_confident_mistakes
from fashion_mlp.reporting import figures
from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.failures import warn_on_failure


class EvaluationFigures(Callback):
    """Log the confusion matrix, the first images with their predictions and the most confident mistakes.

    Figures of the test are also saved as files. There is no confusion matrix of more than `figures.MAX_MATRIX_CLASSES`
    classes.

    Args:
        dirpath: directory of `confusion_matrix.png`, `predictions.png` and `mistakes.png`.
        every_n_epochs: interval between the figures of the validation.
        count: number of images in a figure, at most those of a batch; with several processes, of rank 0 only.
    """

    def __init__(self, dirpath: str, every_n_epochs: int = 10, count: int = 16) -> None:
        self.dirpath = Path(dirpath)
        self.every_n_epochs = every_n_epochs
        self.count = count
        self._matrix: Tensor | None = None
        # Images, logits and labels.
        self._first: list[Tensor] = []
        self._mistakes: list[Tensor] = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if self._is_due(trainer):
            self._update(outputs, *batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due(trainer):
            self._draw(trainer, pl_module)

    on_test_batch_end = on_validation_batch_end  # type: ignore[assignment]  # Callback names all arguments
    on_test_epoch_end = on_validation_epoch_end

    def _is_due(self, trainer: Trainer) -> bool:
        is_due = bool(trainer.loggers) and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return trainer.testing or is_due

    def _update(self, logits: Tensor, images: Tensor, labels: Tensor) -> None:
        if logits.shape[1] <= figures.MAX_MATRIX_CLASSES:
            matrix = confusion_matrix(EvalOutput(logits, labels), logits.shape[1])
            self._matrix = matrix if self._matrix is None else self._matrix + matrix
        tensors = [images, logits, labels]
        self._first = self._first or [tensor[: self.count] for tensor in tensors]
        if self._mistakes:
            tensors = [torch.cat(pair) for pair in zip(self._mistakes, tensors, strict=True)]
        worst = most_confident_mistakes(EvalOutput(*tensors[1:]), self.count)
        self._mistakes = [tensor[worst] for tensor in tensors]

    def _draw(self, trainer: Trainer, classifier: LightningModule) -> None:
        """Draw the figures on rank 0 and reset; the confusion matrix is the sum of those of all processes."""
        assert isinstance(classifier, Classifier)
        stage = "test" if trainer.testing else "val"
        names, drawings = classifier.class_names, dict[str, Callable[[], Figure]]()
        if self._matrix is not None:
            matrix: Any = trainer.strategy.reduce(self._matrix, reduce_op="sum")
            drawings["confusion_matrix"] = partial(figures.confusion_matrix, matrix.cpu(), names)
        for name, tensors in (("predictions", self._first), ("mistakes", self._mistakes)):
            if tensors and len(tensors[0]):
                images, logits, labels = (tensor.cpu() for tensor in tensors)
                drawings[name] = partial(figures.predictions, images, logits.float().softmax(1), labels, names)
        self._matrix, self._first, self._mistakes = None, [], []
        for name, draw in drawings.items() if trainer.is_global_zero else ():
            with warn_on_failure(f"{stage}/{name}"):
                png = figures.png(draw())
                if trainer.testing:
                    with atomic_write(self.dirpath / f"{name}.png") as file:
                        file.write(png)
                _log_image(trainer.loggers, f"{stage}/{name}", Image.open(BytesIO(png)), trainer.global_step)


def _log_image(loggers: Iterable[Logger], tag: str, image: Image.Image, step: int) -> None:
    """Log an image to TensorBoard, Weights & Biases and MLflow; other loggers are skipped."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, np.asarray(image), step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(tag, [image], step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, image, artifact_file=f"{tag}/{step}.png")
