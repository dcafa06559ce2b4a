"""Images in memory, their order in training, and the split of a dataset; a plain `DataLoader` fetches whole batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

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

    @property
    def selected_labels(self) -> Tensor:
        """The labels of the samples in this dataset, int64 `[M]`."""
        return self.labels[self.indices]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image `[C, H, W]` and its label, a scalar."""
        source = self.indices[index]
        return self.images[source], self.labels[source]

    def __getitems__(self, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images `[B, C, H, W]` and labels `[B]`."""
        source = self.indices[torch.as_tensor(batch)]
        # index_select copies whole images; indexing with a tensor copies single bytes.
        return self.images.index_select(0, source), self.labels.index_select(0, source)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first images and labels, at most `count`."""
        return self.__getitems__(range(min(count, len(self))))


class ResumableDistributedSampler(DistributedSampler[Any]):
    """Shuffled training images; each of n processes takes every n-th of them.

    The order depends on the seed and the epoch only, not on the random state of the run, so that an interrupted epoch
    can be resumed. The batches of 32 of n processes contain at each step the same images as the batch of n x 32 of one
    process. If n does not divide the number of images, the first images of an epoch are repeated at its end.

    Args:
        dataset: all images.
        seed: seed of the orders of all epochs.
        shuffle: True to shuffle in each epoch.
        weights: relative probabilities of the images, float `[N]`, to draw them with replacement; None to take each
            image once.
        **share: `num_replicas` and `rank`, the number of processes and the rank of this one; by default 1 and 0.
    """

    def __init__(
        self, dataset: Dataset[Any], *, seed: int, shuffle: bool, weights: Tensor | None = None, **share: Any
    ) -> None:
        share = {"num_replicas": 1, "rank": 0} | share
        # PyTorch adds the epoch to the seed; the shift keeps the epochs of different seeds apart.
        super().__init__(dataset, shuffle=shuffle, seed=(seed << 20) % 2**63, **share)
        self.weights = weights
        self._done = 0

    def resume(self, epoch: int, done: int) -> None:
        """Start the next iteration in the middle of an epoch.

        Args:
            epoch: the epoch, counted from 0.
            done: number of its images that this process has already processed.
        """
        self.epoch = epoch
        self._done = done

    def __iter__(self) -> Iterator[Any]:
        order = list(super().__iter__()) if self.weights is None else self._draw(self.weights)
        done = self._done
        self._done = 0
        self.epoch += 1  # for a loop that does not call `set_epoch`
        return iter(order[done:])

    def _draw(self, weights: Tensor) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch * self.shuffle)
        drawn = torch.multinomial(weights, self.total_size, replacement=True, generator=generator)
        return drawn[self.rank :: self.num_replicas].tolist()


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


def stratified_split(labels: Tensor, held_out: int, seed: int) -> Tensor:
    """Split samples in two with the same proportions of classes.

    Args:
        labels: int64 `[N]`.
        held_out: number of samples to hold out, 0 to N.
        seed: seed of the split, which does not depend on the random state.

    Returns:
        True for each sample that is held out, bool `[N]`.
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
    return is_held_out
