"""Which images a loader yields, and in which order: all of them, or a process's share.

Lightning leaves a loader with such a sampler alone.
"""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset, DistributedSampler

from fashion_mlp.runtime.errors import UserError


class ResumableDistributedSampler(DistributedSampler[Any]):
    """The order of the training images, another one each epoch, and of several processes every n-th image of it.

    It follows from the seed and the epoch alone, so that an interrupted epoch can be gone on with: neither the run's
    random numbers nor what was drawn before play a part in it. The n processes' batches of 32 hold together what one
    process's batch of n x 32 holds, step by step. Where the images do not divide by n, the first of an epoch come once
    more at its end, as everywhere in PyTorch.

    Args:
        dataset: the whole.
        seed: of all orders.
        shuffle: whether they are shuffled.
        num_replicas: the number of processes.
        rank: that of this one.
    """

    def __init__(
        self, dataset: Dataset[Any], *, seed: int, shuffle: bool, num_replicas: int = 1, rank: int = 0
    ) -> None:
        # PyTorch adds the epoch to the seed: the epochs of one run are not to be those of the next seed.
        super().__init__(dataset, num_replicas, rank, shuffle=shuffle, seed=(seed << 20) % 2**63)
        self._done = 0

    def resume(self, epoch: int, done: int) -> None:
        """Begin the next iteration in the middle of an epoch.

        Args:
            epoch: counted from 0.
            done: images of it that this process has gone through.
        """
        self.epoch = epoch
        self._done = done

    def __iter__(self) -> Iterator[Any]:
        order, done = list(super().__iter__()), self._done
        self._done = 0
        self.epoch += 1  # for a loop that does not call `set_epoch`
        return iter(order[done:])


class ContiguousDistributedSampler(DistributedSampler[Any]):
    """Consecutive images, each of which is in one share only, so that no metric counts any twice.

    Shares differ by one image at most. Processes may have different numbers of batches: they meet at the epoch's end.

    Args:
        dataset: the whole.
        num_replicas: the number of processes.
        rank: that of this one.

    Raises:
        UserError: there are fewer images than processes.
    """

    def __init__(self, dataset: Dataset[Any], *, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=False)
        size = len(dataset)  # type: ignore[arg-type]
        if size < num_replicas:
            raise UserError(f"trainer.devices: {size} images to evaluate are too few for {num_replicas} processes")
        self.share = range(rank * size // num_replicas, (rank + 1) * size // num_replicas)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.share)

    def __len__(self) -> int:
        return len(self.share)
