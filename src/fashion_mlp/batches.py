"""What an epoch's minibatches must be: known once the data are read, and told before training begins."""

from itertools import count
from math import ceil

from omegaconf import DictConfig

from fashion_mlp.errors import UserError


def limited(batches: int, limit: int | float | None) -> int:
    """Return how many of an epoch's batches are used under `trainer.limit_train_batches`."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def check_batches(cfg: DictConfig, images: int, processes: int) -> None:
    """Check that the minibatches of an epoch suit what the configuration does with them.

    Args:
        cfg: the configuration.
        images: how many there are to train on.
        processes: of the run, which share them.

    Raises:
        UserError: a key must be changed.
    """
    share, size, trainer = ceil(images / processes), cfg.data.batch_size, cfg.trainer
    batches = ceil(share / size)
    limit = trainer.limit_train_batches
    used = limited(batches, limit)
    if used == 0:
        raise UserError(f"trainer.limit_train_batches={limit}: is less than one of the {batches:,} batches of an epoch")
    interval, each_epoch = trainer.val_check_interval, trainer.check_val_every_n_epoch is not None
    if isinstance(interval, int) and each_epoch and interval > used and not trainer.fast_dev_run:
        raise UserError(
            f"trainer.val_check_interval={interval}: an epoch has {used:,} steps; lower it, or count over epochs with "
            "trainer.check_val_every_n_epoch=null"
        )
    has_norm = cfg.model.get("norm") == "batch" and cfg.model.get("hidden_sizes") != []
    if has_norm and share % size == 1 and used == batches:
        other = next(other for other in count(size + 1) if share % other != 1)
        raise UserError(
            f"model.norm=batch: the last minibatch of an epoch would hold one image, of which there is no deviation; "
            f"use data.batch_size={other}, or change data.val_size by one"
        )
