"""Images in memory, fetched by whole batches through a plain `DataLoader`."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fashion_mlp.runtime.errors import UserError


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels as tensors, or the part of them that `indices` names.

    `__getitems__` returns a whole batch, ready made; give the `DataLoader` `collate_fn=identity_collate`. That is many
    times as fast as collating samples one by one.

    Args:
        images: uint8 `[N, C, H, W]`.
        labels: int64 `[N]`.
        indices: int64 `[M]`, the samples that belong to this part; all by default.
    """

    def __init__(self, images: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        self.images = images
        self.labels = labels
        self.indices = torch.arange(len(labels)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image `[C, H, W]` and its label, a scalar."""
        source = self.indices[index]
        return self.images[source], self.labels[source]

    def __getitems__(self, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images `[B, C, H, W]` and labels `[B]`."""
        source = self.indices[torch.as_tensor(batch)]
        # index_select copies whole images, where indexing in brackets copies byte by byte.
        return self.images.index_select(0, source), self.labels.index_select(0, source)


def identity_collate(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Collate nothing: the batch comes from `ImageDataset.__getitems__` ready made."""
    return batch


def share_memory_collate(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Move a batch to shared memory in the worker that fetched it.

    By default a thread of the worker does so, and drops a batch that does not fit; the main process would wait for it
    forever. An error that is raised here reaches the main process.
    """
    images, labels = batch
    return images.share_memory_(), labels.share_memory_()  # type: ignore[no-untyped-call]


def resolve_split_size(key: str, part: float, count: int) -> int:
    """Return how many of `count` images a key of the data holds out.

    Args:
        key: its name, for the error message.
        part: its value: a number of images, or if less than 1 the part of them.
        count: the number of images to divide.

    Raises:
        UserError: that is none of them, or all.
    """
    size = round(part * count) if part < 1 else int(part)
    if size == 0:
        raise UserError(f"data.{key}={part}: is less than one image of {count}")
    if size >= count:
        raise UserError(f"data.{key}={part}: must be less than the {count} images to divide")
    return size


def stratified_split(labels: Tensor, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Divide the indices of `labels` in two parts with the same proportions of classes.

    The seed is the split's own: a change of the run's seed does not move it.

    Args:
        labels: int64 `[N]`.
        held_out: size of the second part, 0 to N.
        seed: of the drawing.

    Returns:
        The kept and the held-out indices, each in ascending order.

    Raises:
        ValueError: `held_out` is negative or larger than N.
    """
    if not 0 <= held_out <= len(labels):
        raise ValueError(f"cannot hold out {held_out} of {len(labels)} samples")
    classes, counts = torch.unique(labels, return_counts=True)
    shares = counts.double() * held_out / len(labels)
    quotas = shares.long()
    # Largest remainders get the samples that rounding down left over.
    by_remainder = (shares - quotas).argsort(descending=True, stable=True)
    quotas[by_remainder[: held_out - int(quotas.sum())]] += 1

    generator = torch.Generator().manual_seed(seed)
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in zip(classes, quotas.tolist(), strict=True):
        members = (labels == label).nonzero().squeeze(1)
        is_held_out[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return (~is_held_out).nonzero().squeeze(1), is_held_out.nonzero().squeeze(1)
