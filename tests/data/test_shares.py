"""Shares of a dataset: the processes together take what one process would."""

from itertools import chain

import pytest
import torch
from torch.utils.data import DataLoader

from fashion_mlp.data.dataset import ImageDataset
from fashion_mlp.data.shares import EvaluationShare, ShuffledShare
from fashion_mlp.errors import UserError


def numbered(count: int) -> ImageDataset:
    return ImageDataset(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.arange(count))


def shuffled(dataset: ImageDataset, seed: int, rank: int, epochs: int) -> list[list[int]]:
    """Return the indices that one of two processes takes in each epoch, when the first has drawn from `seed`."""
    first = torch.Generator().manual_seed(seed)
    own = torch.manual_seed(seed + rank)

    def agree(value: int) -> int:
        drawn = int(torch.empty((), dtype=torch.int64).random_(generator=first).item())
        assert rank or drawn == value
        return drawn

    share = ShuffledShare(dataset, agree, num_replicas=2, rank=rank)
    taken = []
    for epoch in range(epochs):
        share.set_epoch(epoch)
        taken.append(list(share))
    assert own is torch.default_generator
    return taken


def test_two_processes_batches_hold_what_one_process_batch_holds() -> None:
    dataset = numbered(60)
    torch.manual_seed(7)
    sampler = DataLoader(dataset, shuffle=True).sampler
    whole = [list(sampler) for _ in range(2)]
    assert whole[0] != whole[1]
    shares = [shuffled(dataset, 7, rank, epochs=2) for rank in (0, 1)]
    for epoch, order in enumerate(whole):
        for step in range(6):
            batches = [shares[rank][epoch][5 * step : 5 * step + 5] for rank in (0, 1)]
            assert sorted(chain(*batches)) == sorted(order[10 * step : 10 * step + 10])


def test_processes_train_on_equally_many() -> None:
    dataset = numbered(61)
    shares = [shuffled(dataset, 7, rank, epochs=1)[0] for rank in (0, 1)]
    assert [len(share) for share in shares] == [31, 31]
    assert sorted(chain(*shares))[:61] != sorted(chain(*shares))
    assert set(chain(*shares)) == set(range(61))


@pytest.mark.parametrize(("count", "processes"), [(10, 3), (11, 3), (12, 3), (3, 3), (7, 1)])
def test_each_image_is_evaluated_once(count: int, processes: int) -> None:
    shares = [EvaluationShare(numbered(count), num_replicas=processes, rank=rank) for rank in range(processes)]
    assert list(chain(*shares)) == list(range(count))
    sizes = [len(share) for share in shares]
    assert sizes == [len(list(share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_more_processes_than_images_are_refused() -> None:
    with pytest.raises(UserError, match="2 images to evaluate are too few for 3 processes"):
        EvaluationShare(numbered(2), num_replicas=3, rank=0)
