"""Metrics of whole splits after each epoch."""

from collections.abc import Sequence

import torch
from lightning import Callback, LightningModule, Trainer

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.metrics import EpochMetrics


class EpochEvaluation(Callback):
    """Evaluate splits after each epoch and log `<split>_after_epoch/loss`, `<split>_after_epoch/acc` and so on.

    `train/acc` is an average over an epoch in which the weights change. With "test", the test set is read after each
    epoch, as many tutorials do; no choice depends on it.

    Args:
        splits: names among "train", "val" and "test".
    """

    def __init__(self, splits: Sequence[str]) -> None:
        self.splits = splits

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule = trainer.datamodule  # type: ignore[attr-defined]  # set at run time
        assert isinstance(datamodule, ImageDataModule)
        assert isinstance(pl_module, Classifier)
        if "test" in self.splits:
            datamodule.setup("test")
        pl_module.eval()
        for split in self.splits:
            metrics = EpochMetrics(f"{split}_after_epoch", pl_module.class_names)
            with torch.no_grad():  # inference tensors cannot be reduced over processes
                for batch in datamodule.loader(split):
                    pl_module.evaluate(trainer.strategy.batch_to_device(batch), metrics)
            pl_module.log_epoch(metrics)
        pl_module.train()
