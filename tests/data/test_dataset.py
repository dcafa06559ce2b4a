"""Whole batches from memory, and the stratified split."""

import pytest
import torch
from torch.utils.data import DataLoader

from fashion_mlp.data.dataset import ImageDataset, identity_collate, stratified_split


@pytest.fixture
def dataset() -> ImageDataset:
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).expand(10, 1, 2, 2)
    return ImageDataset(images, torch.arange(10) * 10, torch.tensor([7, 3, 5]))


def test_a_sample_and_a_batch_agree(dataset: ImageDataset) -> None:
    image, label = dataset[1]
    assert image.shape == (1, 2, 2)
    assert [int(image[0, 0, 0]), int(label)] == [3, 30]
    images, labels = dataset.__getitems__([2, 0])
    assert images[:, 0, 0, 0].tolist() == [5, 7]
    assert labels.tolist() == [50, 70]
    assert images.dtype == torch.uint8


def test_a_plain_loader_yields_each_sample_once(dataset: ImageDataset) -> None:
    loader = DataLoader(dataset, batch_size=2, shuffle=True, collate_fn=identity_collate)  # type: ignore[arg-type]
    batches = list(loader)
    assert [tuple(images.shape) for images, _ in batches] == [(2, 1, 2, 2), (1, 1, 2, 2)]
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == [30, 50, 70]


def test_the_split_is_stratified_and_of_the_right_size() -> None:
    labels = torch.tensor([0] * 500 + [1] * 300 + [2] * 203)
    is_held_out = stratified_split(labels, 100, seed=0)
    assert torch.bincount(labels[is_held_out]).tolist() == [50, 30, 20]


@pytest.mark.parametrize("held_out", [0, 1, 7, 1003])
def test_the_split_has_exactly_the_requested_size(held_out: int) -> None:
    labels = torch.arange(1003) % 10
    assert stratified_split(labels, held_out, seed=3).sum() == held_out


def test_the_split_depends_on_its_seed_only() -> None:
    labels = torch.arange(1000) % 10
    torch.manual_seed(1)
    first = stratified_split(labels, 100, seed=0)
    torch.manual_seed(2)
    assert torch.equal(first, stratified_split(labels, 100, seed=0))
    assert not torch.equal(first, stratified_split(labels, 100, seed=1))
