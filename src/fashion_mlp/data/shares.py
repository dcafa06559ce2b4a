"""What each process of a distributed run takes of a dataset. Lightning leaves a loader with such a sampler alone."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, DistributedSampler
from typing_extensions import override

from fashion_mlp.errors import UserError


class ShuffledShare(DistributedSampler[Any]):
    """Every n-th image of the order in which one process would go through them.

    So the n processes' batches of 32 hold together what one process's batch of n x 32 holds, step by step. Where the
    images do not divide by n, the first of an epoch come once more at its end, as everywhere in PyTorch.

    Args:
        dataset: the whole.
        agree: returns the first process's value to all of them.
        num_replicas: the number of processes.
        rank: that of this one.
    """

    def __init__(self, dataset: Dataset[Any], agree: Callable[[int], int], *, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas, rank)
        self.agree = agree

    @override
    def set_epoch(self, epoch: int) -> None:
        pass  # a new seed is drawn each time

    @override
    def __iter__(self) -> Iterator[Any]:
        # Drawn as `RandomSampler` does; the processes' random numbers differ, for masks of dropout of their own.
        self.seed = self.agree(int(torch.empty((), dtype=torch.int64).random_().item()))
        return super().__iter__()


class EvaluationShare(DistributedSampler[Any]):
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

    @override
    def __iter__(self) -> Iterator[Any]:
        return iter(self.share)

    @override
    def __len__(self) -> int:
        return len(self.share)
