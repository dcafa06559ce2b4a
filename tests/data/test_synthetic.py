"""Synthetic garments are written once, and verified when they are read."""

from pathlib import Path

import pytest
import torch

from fashion_mlp.data import FashionMNISTDataModule, SyntheticDataModule
from fashion_mlp.data.mnist import read_split, split_paths
from fashion_mlp.data.synthetic import draw_garments
from fashion_mlp.runtime.errors import UserError


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


@pytest.fixture(autouse=True)
def _clear_cache() -> None:
    read_split.cache_clear()


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", ["images", "labels"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
def test_a_missing_or_truncated_file_is_written_again(tmp_path: Path, split: str, kind: str, damage: str) -> None:
    data = module(tmp_path)
    data.prepare_data()
    path = dict(zip(("images", "labels"), split_paths(data.directory, split), strict=True))[kind]
    intact = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(intact[: {"empty": 0, "truncated": -1}[damage]])
    read_split.cache_clear()
    with pytest.raises((OSError, UserError)):
        data.read_split(split)
    data.prepare_data()
    assert path.read_bytes() == intact
    drawn, _ = draw_garments(data.sizes[split], seed=["train", "test"].index(split))
    assert torch.equal(data.read_split(split)[0].squeeze(1), torch.from_numpy(drawn))


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


def test_a_split_is_read_once_per_process(tmp_path: Path) -> None:
    module(tmp_path).prepare_data()
    first, second = module(tmp_path), module(tmp_path)
    assert first.read_split("train")[0] is second.read_split("train")[0]
    assert read_split.cache_info().maxsize == 4


def test_the_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_MLP_DATA", str(tmp_path))
    assert SyntheticDataModule().directory.is_relative_to(tmp_path)
    monkeypatch.delenv("FASHION_MLP_DATA")
    assert SyntheticDataModule().directory.is_relative_to("data")
