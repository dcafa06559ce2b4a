"""Synthetic garments are written once as IDX files."""

import os
from pathlib import Path

import pytest
import torch
from torchvision.datasets.mnist import read_image_file

from fashion_mlp.data import FashionMNISTDataModule, SyntheticDataModule
from fashion_mlp.data.garments import draw_garments
from fashion_mlp.data.idx import read_split, split_paths


def module(root: Path, **arguments: int) -> SyntheticDataModule:
    return SyntheticDataModule(root=root, **{"train_size": 60, "test_size": 20, "val_size": 10, **arguments})


def test_files_are_written_once_and_read_as_drawn(tmp_path: Path) -> None:
    data = module(tmp_path, seed=3)
    data.prepare_data()
    written = {path: path.stat().st_mtime_ns for path in data.directory.iterdir()}
    data.prepare_data()
    assert {path: path.stat().st_mtime_ns for path in data.directory.iterdir()} == written
    images, labels = data.read_split("train")
    drawn, drawn_labels = draw_garments(60, seed=6)
    assert torch.equal(images.squeeze(1), torch.from_numpy(drawn))
    assert torch.equal(labels, torch.from_numpy(drawn_labels).long())
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_missing_or_truncated_file_is_written_again(tmp_path: Path, split: str, number: int) -> None:
    data = module(tmp_path)
    data.prepare_data()
    path = split_paths(data.directory, split)[number]
    intact = path.read_bytes()
    path.write_bytes(intact[:-1])
    data.prepare_data()
    assert path.read_bytes() == intact
    path.unlink()
    data.prepare_data()
    assert path.read_bytes() == intact


def test_each_seed_and_size_has_separate_files(tmp_path: Path) -> None:
    modules = [module(tmp_path), module(tmp_path, seed=1), module(tmp_path, train_size=70)]
    for data in modules:
        data.prepare_data()
    assert len({data.directory for data in modules}) == 3
    assert not torch.equal(modules[0].read_split("train")[0], modules[1].read_split("train")[0])


def test_training_and_test_images_differ(tmp_path: Path) -> None:
    data = module(tmp_path, train_size=50, test_size=50)
    data.prepare_data()
    train = {bytes(image.numpy().tobytes()) for image in data.read_split("train")[0]}
    test = {bytes(image.numpy().tobytes()) for image in data.read_split("test")[0]}
    assert not train & test


def test_the_set_is_never_called_fashion_mnist(tmp_path: Path) -> None:
    data = module(tmp_path)
    assert FashionMNISTDataModule.name not in data.name
    assert "FashionMNIST" not in str(data.directory.relative_to(tmp_path))
    assert data.identity["name"] == "synthetic garments"


def test_the_files_are_proper_idx(tmp_path: Path) -> None:
    data = module(tmp_path)
    data.prepare_data()
    assert read_image_file(os.fspath(split_paths(data.directory, "test")[0])).shape == (20, 28, 28)


def test_a_split_is_read_once_per_process(tmp_path: Path) -> None:
    module(tmp_path).prepare_data()
    first, second = module(tmp_path), module(tmp_path)
    assert first.read_split("train")[0] is second.read_split("train")[0]
    assert read_split.cache_info().currsize <= 4
