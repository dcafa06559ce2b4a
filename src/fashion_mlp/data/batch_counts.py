"""Checks of the number and size of an epoch's batches, which are known once the data are read."""

from math import ceil

from omegaconf import DictConfig

from fashion_mlp.data.module import ImageDataModule
from fashion_mlp.runtime.errors import UserError


def limit_batches(batches: int, limit: int | float | None) -> int:
    """Return the number of batches that a limit of the Trainer leaves: a number, a fraction, or None for no limit."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def check_batch_counts(cfg: DictConfig, datamodule: ImageDataModule, processes: int) -> None:
    """Check that the batches of each stage fit the configuration.

    Args:
        cfg: configuration of the run.
        datamodule: data module of the run, set up for "fit".
        processes: number of processes, each of which takes a share of the images.

    Raises:
        UserError: a key needs another value.
    """
    images = {split: len(dataset) for split, dataset in datamodule.splits.items()}
    if cfg.test:
        images["test"] = datamodule.num_test_images()
    share, size, trainer = ceil(images["train"] / processes), datamodule.batch_size, cfg.trainer
    batches = ceil(share / size)
    used = limit_batches(batches, trainer.limit_train_batches)
    for stage, count in images.items():
        total = batches if stage == "train" else ceil(count / processes / datamodule.eval_batch_size)
        name = "overfit_batches" if trainer.overfit_batches and stage != "test" else f"limit_{stage}_batches"
        if total and limit_batches(total, trainer[name]) == 0:
            remedy = f"Expected a number of batches, or a fraction of at least {1 / total:.2g}"
            raise UserError(f"trainer.{name}={trainer[name]}: less than one of {total:,} batches. {remedy}")
    interval, each_epoch = trainer.val_check_interval, trainer.check_val_every_n_epoch is not None
    if isinstance(interval, int) and each_epoch and interval > used and not trainer.fast_dev_run:
        remedy = "Expected at most that; or count over epochs with trainer.check_val_every_n_epoch=null"
        raise UserError(f"trainer.val_check_interval={interval}: an epoch has {used:,} steps. {remedy}")
    has_norm = cfg.model.get("norm") == "batch" and cfg.model.get("hidden_sizes") != []
    if has_norm and share % size == 1 and used == batches:
        problem = "the last batch of an epoch would have one image, which has no variance"
        raise UserError(f"model.norm=batch: {problem}. Type data.batch_size={size + 1}, or change data.val_size by one")
