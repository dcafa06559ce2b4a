"""Accuracy on whole parts of the data after each epoch, with the weights that the epoch ended with."""

from collections.abc import Sequence

import torch
from lightning import Callback, LightningModule, Trainer

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.metrics import EpochMetrics


class EpochEvaluation(Callback):
    """Evaluates parts of the data after each epoch and logs `<part>_after_epoch/loss` and `/acc`.

    `train/acc` is an average over an epoch in which the weights change; this is the figure after it. With "test" it
    reads the test set every epoch, as many tutorials do: to be shown only, nothing is ever chosen by it.

    Args:
        parts: of "train", "val" and "test".
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = parts

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule = trainer.datamodule  # type: ignore[attr-defined]  # set at run time
        assert isinstance(datamodule, ImageDataModule)
        assert isinstance(pl_module, Classifier)
        if "test" in self.parts:
            datamodule.setup("test")
        pl_module.eval()
        for part in self.parts:
            metrics = EpochMetrics(f"{part}_after_epoch", pl_module.class_names).to(pl_module.device)
            with torch.no_grad():  # several processes cannot add up inference tensors
                for batch in datamodule.loader(part):
                    pl_module.evaluate(trainer.strategy.batch_to_device(batch), metrics)
            pl_module.log_epoch(metrics)
        pl_module.train()
