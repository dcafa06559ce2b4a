"""Pictures of what an evaluation came to: the confusion matrix and the most confident mistakes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix
from typing_extensions import override

from fashion_mlp import figures
from fashion_mlp.atomic import replacing
from fashion_mlp.callbacks.final_figures import FinalFigures
from fashion_mlp.classifier import Classifier
from fashion_mlp.evaluation import Outcome, most_confident_mistakes
from fashion_mlp.faults import warn_on_failure
from fashion_mlp.loggers import log_picture

Mistakes = tuple[Tensor, Outcome]
"""Images, uint8 `[N, C, H, W]`, and what was answered."""


class EvaluationPictures(FinalFigures):
    """Draws the confusion matrix and the most confident mistakes, for the loggers that take pictures.

    Of the validation every `every_n_epochs` epochs; of the test, also into files. With more than
    `figures.MAX_MATRIX_CLASSES` classes there is no confusion matrix.

    Args:
        folder: where `confusion_matrix.png` and `mistakes.png` of the test are written.
        every_n_epochs: how often the validation is drawn.
        count: mistakes shown at most; with several processes, those of the first.
    """

    def __init__(self, folder: str, every_n_epochs: int = 10, count: int = 16) -> None:
        self.folder = Path(folder)
        self.every_n_epochs = every_n_epochs
        self.count = count
        self._counter: MulticlassConfusionMatrix | None = None
        self._matrix: Tensor | None = None
        self._mistakes: Mistakes | None = None

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._is_due(trainer):
            self._take_in(pl_module, outputs, batch)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due(trainer):
            self._compute()
            if trainer.is_global_zero:
                assert isinstance(pl_module, Classifier)
                self._draw(trainer, pl_module, "val")

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
        self._take_in(pl_module, outputs, batch)

    @override
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._compute()

    @override
    def save_figures(self, trainer: Trainer, classifier: Classifier) -> None:
        self._draw(trainer, classifier, "test", self.folder)

    def _is_due(self, trainer: Trainer) -> bool:
        return bool(trainer.loggers) and (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _take_in(self, pl_module: LightningModule, logits: Tensor, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        if self._counter is None and logits.shape[1] <= figures.MAX_MATRIX_CLASSES:
            self._counter = MulticlassConfusionMatrix(logits.shape[1]).to(pl_module.device)
        if self._counter is not None:
            self._counter.update(logits.argmax(1), labels)
        worst = _worst(images, Outcome(logits, labels), self.count)
        self._mistakes = worst if self._mistakes is None else _worst(*_joined(self._mistakes, worst), self.count)

    def _compute(self) -> None:
        """Sum the confusion matrices of all processes."""
        if self._counter is not None:
            self._matrix = self._counter.compute().cpu()
            self._counter = None

    def _draw(self, trainer: Trainer, classifier: Classifier, stage: str, folder: Path | None = None) -> None:
        names, drawings = classifier.class_names, dict[str, Callable[[], Figure]]()
        if self._matrix is not None:
            drawings["confusion_matrix"] = partial(figures.confusion_matrix, self._matrix, names)
        if self._mistakes is not None and len(self._mistakes[0]):
            images, outcome = self._mistakes
            answers = outcome.logits.softmax(1).cpu(), outcome.labels.cpu()
            drawings["mistakes"] = partial(figures.predictions, images.cpu(), *answers, names)
        self._matrix = self._mistakes = None
        for name, draw in drawings.items():
            with warn_on_failure(f"{stage}/{name}"):
                picture = figures.png(draw())
                if folder is not None:
                    with replacing(folder / f"{name}.png") as file:
                        file.write(picture)
                log_picture(trainer.loggers, f"{stage}/{name}", picture, trainer.global_step)


def _worst(images: Tensor, outcome: Outcome, count: int) -> Mistakes:
    chosen = most_confident_mistakes(outcome, count)
    return images[chosen], Outcome(outcome.logits[chosen], outcome.labels[chosen])


def _joined(some: Mistakes, others: Mistakes) -> Mistakes:
    outcome = Outcome(*(torch.cat(pair) for pair in zip(some[1], others[1], strict=True)))
    return torch.cat((some[0], others[0])), outcome
