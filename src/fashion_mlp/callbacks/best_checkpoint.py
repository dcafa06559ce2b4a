"""The checkpoint with the best monitored metric."""

from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from fashion_mlp.runtime.atomic import atomic_write


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, in whose directory `best.ckpt` is the best checkpoint.

    With `save_top_k` other than 1, several are kept, with epoch (from 1) and step in their names, and `best.ckpt` is a
    copy of the best of them, made after each epoch. A `filename` with fields in braces names each checkpoint instead.
    """

    @property
    def keeps_several(self) -> bool:
        """Whether several checkpoints would have the same name."""
        return self.save_top_k not in (0, 1) and "{" not in str(self.filename)

    def format_checkpoint_name(
        self, metrics: dict[str, Tensor], filename: str | None = None, ver: int | None = None, prefix: str | None = None
    ) -> str:
        if filename is None and self.keeps_several:
            filename = f"{self.filename}-epoch{int(metrics['epoch']) + 1}-step{int(metrics['step'])}"
        return super().format_checkpoint_name(metrics, filename, ver, prefix)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self.keeps_several and self.best_model_path and trainer.is_global_zero:
            with atomic_write(Path(str(self.dirpath), f"{self.filename}{self.FILE_EXTENSION}")) as file:
                file.write(Path(self.best_model_path).read_bytes())
