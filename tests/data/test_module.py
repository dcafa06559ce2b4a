"""Loaders and splits of the data modules."""

from pathlib import Path

import pytest
import torch

from fashion_mlp.data import SyntheticDataModule
from fashion_mlp.runtime.errors import UserError


@pytest.fixture
def data(data_root: Path) -> SyntheticDataModule:
    data = SyntheticDataModule(root=data_root, train_size=600, test_size=200, val_size=100, batch_size=64)
    data.prepare_data()
    return data


def labels_of(loader: object) -> list[int]:
    return [int(label) for _, labels in loader for label in labels]  # type: ignore[attr-defined]


def test_a_batch_has_the_documented_shape(data: SyntheticDataModule) -> None:
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert (images.shape, images.dtype) == ((64, 1, 28, 28), torch.uint8)
    assert (labels.shape, labels.dtype) == ((64,), torch.int64)


def test_a_fetch_of_several_batches_is_limited(data: SyntheticDataModule) -> None:
    data.setup("fit")
    data.set_batches_per_fetch(5)
    assert [len(labels) for _, labels in data.train_dataloader()] == [320, 180]
    data.image_shape = (3, 224, 224)
    data.set_batches_per_fetch(5)
    assert data.batches_per_fetch == 1
    data.batch_size = 20
    data.set_batches_per_fetch(5)
    assert data.batches_per_fetch == 2
    data.num_workers = 1
    data.set_batches_per_fetch(5)
    assert data.batches_per_fetch == 1


def test_splits_are_complete_and_disjoint(data: SyntheticDataModule) -> None:
    data.setup("fit")
    train, val = data.splits["train"].indices, data.splits["val"].indices
    assert (len(train), len(val)) == (500, 100)
    assert not set(train.tolist()) & set(val.tolist())


def test_several_processes_evaluate_each_image_once(data: SyntheticDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    data.setup("fit")
    data.splits["val"].labels = torch.arange(600)
    found: list[int] = []
    for rank in range(3):
        monkeypatch.setattr(data, "_share", {"num_replicas": 3, "rank": rank}.copy)
        found += labels_of(data.val_dataloader())
    assert sorted(found) == data.splits["val"].indices.tolist()
    monkeypatch.setattr(data, "_share", {"num_replicas": 101, "rank": 0}.copy)
    with pytest.raises(UserError, match=r"trainer.devices: 100 images to evaluate are fewer than the processes"):
        data.val_dataloader()


def test_training_does_not_read_the_test_images(data: SyntheticDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    splits_read: list[str] = []
    read = data.read_split

    def record(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        splits_read.append(split)
        return read(split)

    monkeypatch.setattr(data, "read_split", record)
    data.setup("fit")
    list(data.train_dataloader())
    list(data.val_dataloader())
    assert splits_read == ["train"]
    data.setup("test")
    assert splits_read == ["train", "test"]


def test_the_validation_stage_reads_the_validation_split(data: SyntheticDataModule) -> None:
    data.setup("validate")
    assert len(labels_of(data.val_dataloader())) == 100


def test_only_training_is_shuffled(data: SyntheticDataModule) -> None:
    data.setup("fit")
    data.setup("test")
    loader = data.train_dataloader()
    assert labels_of(loader) != labels_of(loader)
    assert labels_of(data.val_dataloader()) == labels_of(data.val_dataloader())
    assert labels_of(data.test_dataloader()) == data.read_split("test")[1].tolist()


def test_workers_yield_the_same_batches(data_root: Path) -> None:
    orders = []
    for num_workers in (0, 2):
        data = SyntheticDataModule(root=data_root, train_size=600, test_size=200, val_size=100, num_workers=num_workers)
        data.prepare_data()
        data.setup("fit")
        torch.manual_seed(0)
        orders.append(labels_of(data.train_dataloader()))
        assert all(tensor.is_shared() == (num_workers > 0) for batch in data.val_dataloader() for tensor in batch)
    assert orders[0] == orders[1]


def test_without_validation_all_images_train(data_root: Path) -> None:
    data = SyntheticDataModule(root=data_root, train_size=600, test_size=200, val_size=0)
    data.prepare_data()
    data.setup("fit")
    assert (len(data.splits["train"]), len(data.splits["val"])) == (600, 0)


def test_a_fraction_of_the_training_images_is_stratified_and_keeps_the_validation_split(
    data: SyntheticDataModule,
) -> None:
    data.setup("fit")
    all_images, val = data.splits.pop("train"), data.splits["val"]
    data.train_fraction = 0.1
    data.setup("fit")
    train = data.splits["train"]
    assert len(train) == 50
    assert set(train.indices.tolist()) < set(all_images.indices.tolist())
    assert torch.bincount(train.labels[train.indices], minlength=10).tolist() == [5] * 10
    assert torch.equal(data.splits["val"].indices, val.indices)


def test_a_fraction_without_an_image_is_refused(data: SyntheticDataModule) -> None:
    data.train_fraction = 0.0009
    with pytest.raises(UserError, match=r"data.train_fraction=0.0009: 0 of 500 images. Expected at least 1"):
        data.setup("fit")


def test_folds_validate_each_training_image_once(data: SyntheticDataModule) -> None:
    data.folds, held_out = 7, []
    for data.fold in range(7):
        data.splits.clear()
        data.setup("fit")
        train, val = data.splits["train"], data.splits["val"]
        assert sorted([*train.indices.tolist(), *val.indices.tolist()]) == list(range(600))
        counts = torch.bincount(val.labels[val.indices], minlength=10)
        assert counts.max() - counts.min() <= 1
        held_out.append(val.indices)
    assert sorted(torch.cat(held_out).tolist()) == list(range(600))
    assert {len(indices) for indices in held_out} == {85, 86}


def test_folds_depend_on_the_seed_of_the_split_only(data: SyntheticDataModule) -> None:
    data.folds, data.fold = 5, 2
    held_out = []
    for data.split_seed, seed in ((0, 0), (0, 1), (1, 0)):
        torch.manual_seed(seed)
        data.splits.clear()
        data.setup("fit")
        held_out.append(data.splits["val"].indices)
    assert torch.equal(held_out[0], held_out[1])
    assert not torch.equal(held_out[0], held_out[2])


def test_more_folds_than_images_are_refused(data: SyntheticDataModule) -> None:
    data.folds = 5000
    with pytest.raises(UserError, match=r"data.folds=5000: 600 images. Expected at most that"):
        data.setup("fit")


def test_balanced_sampling_draws_each_class_equally_often(data: SyntheticDataModule) -> None:
    data.setup("fit")
    labels = data.splits["train"].labels
    labels[labels > 1] = 0
    data.balanced_sampling = True
    loader = data.train_dataloader()
    epochs = [labels_of(loader) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert all(len(drawn) == 500 and 200 < sum(drawn) < 300 for drawn in epochs)
