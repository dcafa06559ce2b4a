"""Pictures of what an evaluation came to: the confusion matrix and the most confident mistakes."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix
from typing_extensions import override

from fashion_mlp import figures
from fashion_mlp.classifier import Classifier
from fashion_mlp.evaluation import Outcome, most_confident_mistakes
from fashion_mlp.loggers import log_picture

Mistakes = tuple[Tensor, Outcome]
"""Images, uint8 `[N, C, H, W]`, and what was answered."""


class EvaluationPictures(Callback):
    """Draws the confusion matrix and the most confident mistakes, for the loggers that take pictures.

    Of the validation every `every_n_epochs` epochs; of the test, also into files.

    Args:
        folder: where `confusion_matrix.png` and `mistakes.png` of the test are written.
        every_n_epochs: how often the validation is drawn.
        count: mistakes shown at most; with several processes, those of the first.
    """

    def __init__(self, folder: str, every_n_epochs: int = 10, count: int = 16) -> None:
        self.folder = Path(folder)
        self.every_n_epochs = every_n_epochs
        self.count = count
        self._matrix: MulticlassConfusionMatrix | None = None
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
        self._draw(trainer, pl_module, "test", self.folder)

    def _is_due(self, trainer: Trainer) -> bool:
        return bool(trainer.loggers) and (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _take_in(self, pl_module: LightningModule, logits: Tensor, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        if self._matrix is None:
            self._matrix = MulticlassConfusionMatrix(logits.shape[1]).to(pl_module.device)
        self._matrix.update(logits.argmax(1), labels)
        worst = _worst(images, Outcome(logits, labels), self.count)
        self._mistakes = worst if self._mistakes is None else _worst(*_joined(self._mistakes, worst), self.count)

    def _draw(self, trainer: Trainer, pl_module: LightningModule, stage: str, folder: Path | None = None) -> None:
        assert isinstance(pl_module, Classifier)
        assert self._matrix is not None
        matrix = self._matrix.compute().cpu()  # of all processes
        self._matrix = None
        mistakes, self._mistakes = self._mistakes, None
        if not trainer.is_global_zero:
            return
        drawn = {"confusion_matrix": figures.confusion_matrix(matrix, pl_module.class_names)}
        if mistakes is not None and len(mistakes[0]):
            images, outcome = mistakes
            probabilities = outcome.logits.softmax(1).cpu()
            names = pl_module.class_names
            drawn["mistakes"] = figures.predictions(images.cpu(), probabilities, outcome.labels.cpu(), names)
        for name, figure in drawn.items():
            picture = figures.png(figure)
            log_picture(trainer.loggers, f"{stage}/{name}", picture, trainer.global_step)
            if folder is not None:
                (folder / f"{name}.png").write_bytes(picture)


def _worst(images: Tensor, outcome: Outcome, count: int) -> Mistakes:
    chosen = most_confident_mistakes(outcome, count)
    return images[chosen], Outcome(outcome.logits[chosen], outcome.labels[chosen])


def _joined(some: Mistakes, others: Mistakes) -> Mistakes:
    outcome = Outcome(*(torch.cat(pair) for pair in zip(some[1], others[1], strict=True)))
    return torch.cat((some[0], others[0])), outcome
