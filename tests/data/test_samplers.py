"""Several processes together take the images that one process takes."""

from itertools import chain
from typing import Any

import torch

from fashion_mlp.data.dataset import ImageDataset, ResumableDistributedSampler


def numbered(count: int) -> ImageDataset:
    return ImageDataset(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.arange(count))


def order(dataset: ImageDataset, seed: int, rank: int = 0, processes: int = 1) -> ResumableDistributedSampler:
    return ResumableDistributedSampler(dataset, seed=seed, shuffle=True, num_replicas=processes, rank=rank)


def test_each_epoch_and_each_seed_has_a_different_order() -> None:
    orders = {seed: order(numbered(60), seed) for seed in (7, 8)}
    epochs = [tuple(orders[seed]) for seed in (7, 8) for _ in range(2)]
    assert len(set(epochs)) == 4
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)


def test_an_order_depends_on_seed_and_epoch_only() -> None:
    first, again = order(numbered(60), 7), order(numbered(60), 7)
    torch.manual_seed(1)
    epochs = [list(first) for _ in range(3)]
    torch.manual_seed(2)
    again.set_epoch(2)
    assert list(again) == epochs[2]


def test_an_interrupted_epoch_is_resumed_once() -> None:
    whole = order(numbered(60), 7)
    epochs = [list(whole) for _ in range(3)]
    rest = order(numbered(60), 7)
    rest.resume(epoch=1, done=20)
    assert list(rest) == epochs[1][20:]
    assert list(rest) == epochs[2]


def test_weights_are_probabilities_and_an_interrupted_epoch_is_resumed() -> None:
    weights = torch.arange(60) % 2 * 1.0
    whole, rest = (ResumableDistributedSampler(numbered(60), seed=7, shuffle=True, weights=weights) for _ in range(2))
    epochs = [list(whole) for _ in range(2)]
    assert all(index % 2 for epoch in epochs for index in epoch)
    rest.resume(epoch=1, done=20)
    assert list(rest) == epochs[1][20:]


def test_processes_draw_the_images_of_one_process() -> None:
    weights = torch.rand(60, generator=torch.Generator().manual_seed(0))
    arguments: dict[str, Any] = {"seed": 7, "shuffle": True, "weights": weights}
    shares = [ResumableDistributedSampler(numbered(60), **arguments, num_replicas=2, rank=rank) for rank in (0, 1)]
    drawn = list(chain.from_iterable(zip(*shares, strict=True)))
    assert drawn == list(ResumableDistributedSampler(numbered(60), **arguments))


def test_unshuffled_images_keep_their_order() -> None:
    unshuffled = ResumableDistributedSampler(numbered(10), seed=7, shuffle=False)
    assert list(unshuffled) == list(unshuffled) == list(range(10))


def test_batches_of_two_processes_make_the_batch_of_one() -> None:
    dataset = numbered(60)
    whole = order(dataset, 7)
    shares = [order(dataset, 7, rank, processes=2) for rank in (0, 1)]
    for _ in range(2):
        epoch, orders = list(whole), [list(share) for share in shares]
        for step in range(6):
            batches = [order[5 * step : 5 * step + 5] for order in orders]
            assert sorted(chain(*batches)) == sorted(epoch[10 * step : 10 * step + 10])


def test_processes_train_on_equal_numbers_of_images() -> None:
    shares = [list(order(numbered(61), 7, rank, processes=2)) for rank in (0, 1)]
    assert [len(share) for share in shares] == [31, 31]
    assert set(chain(*shares)) == set(range(61))
