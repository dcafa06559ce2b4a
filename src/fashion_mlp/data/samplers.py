"""The sampler of the training images; Lightning does not replace it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler


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
        num_replicas: number of processes.
        rank: rank of this process.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        seed: int,
        shuffle: bool,
        weights: Tensor | None = None,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        # PyTorch adds the epoch to the seed; the shift keeps the epochs of different seeds apart.
        super().__init__(dataset, num_replicas, rank, shuffle=shuffle, seed=(seed << 20) % 2**63)
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
