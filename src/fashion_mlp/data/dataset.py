"""Images in memory, fetched in whole batches by a plain `DataLoader`, and the split of a dataset."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fashion_mlp.runtime.errors import UserError


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels as tensors, or a subset of them.

    `__getitems__` returns a whole batch, for a `DataLoader` with `collate_fn=identity_collate`: many times as fast as
    collating samples one by one.

    Args:
        images: uint8 `[N, C, H, W]`.
        labels: int64 `[N]`.
        indices: int64 `[M]`, the samples in this dataset; all by default.
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
        # index_select copies whole images; indexing with a tensor copies single bytes.
        return self.images.index_select(0, source), self.labels.index_select(0, source)


def identity_collate(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the batch of `ImageDataset.__getitems__` unchanged."""
    return batch


def to_shared_memory(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Move a batch to shared memory in the worker that fetched it.

    By default a thread of the worker moves it. That thread drops a batch that does not fit, and the main process waits
    for it forever. An error in this function is raised in the main process.
    """
    images, labels = batch
    return images.share_memory_(), labels.share_memory_()  # type: ignore[no-untyped-call]


def count_held_out(key: str, size: float, total: int) -> int:
    """Return the number of images that a key of the data holds out.

    Args:
        key: name of the key, for error messages.
        size: number of images, or a fraction of `total` if less than 1.
        total: number of images to split.

    Raises:
        UserError: the result is 0, or not less than `total`.
    """
    count = round(size * total) if size < 1 else int(size)
    if not 0 < count < total:
        raise UserError(f"data.{key}={size}: {count} of {total} images. Expected at least 1, and less than all")
    return count


def stratified_folds(labels: Tensor, folds: int, seed: int) -> Tensor:
    """Assign samples to folds with the same proportions of classes, whose sizes differ by at most one.

    Args:
        labels: int64 `[N]`.
        folds: number of folds, 2 to N.
        seed: seed of the assignment, which does not depend on the random state.

    Returns:
        The fold of each sample, int64 `[N]`, from 0.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].argsort(stable=True)]
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(labels)) % folds)


def stratified_split(labels: Tensor, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split the indices of `labels` in two with the same proportions of classes, independent of the random state.

    Args:
        labels: int64 `[N]`.
        held_out: number of held-out indices, 0 to N.
        seed: seed of the split.

    Returns:
        The kept and the held-out indices, each in ascending order.
    """
    classes, counts = torch.unique(labels, return_counts=True)
    shares = counts.double() * held_out / len(labels)
    quotas = shares.long()
    # The classes with the largest remainders get the samples that rounding down left over.
    by_remainder = (shares - quotas).argsort(descending=True, stable=True)
    quotas[by_remainder[: held_out - int(quotas.sum())]] += 1

    generator = torch.Generator().manual_seed(seed)
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in zip(classes, quotas.tolist(), strict=True):
        members = (labels == label).nonzero().squeeze(1)
        is_held_out[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return (~is_held_out).nonzero().squeeze(1), is_held_out.nonzero().squeeze(1)
