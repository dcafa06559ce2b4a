"""MNIST and Kuzushiji-MNIST, from a local site with synthetic images instead of the real ones."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fashion_mlp.data import MNISTDataModule, find_data_module
from fashion_mlp.data.download import download_and_verify
from fashion_mlp.data.kmnist import KMNISTDataModule
from fashion_mlp.data.mnist import read_split, split_paths, write_split
from fashion_mlp.data.synthetic import draw_garments
from fashion_mlp.inference.test_data import build_untrusted_datamodule
from fashion_mlp.runtime.errors import UserError
from tests.conftest import CONF
from tests.data.conftest import Site

MODULES = {"mnist": MNISTDataModule, "kmnist": KMNISTDataModule}


@pytest.fixture(params=MODULES)
def option(request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return an option whose data set has 60 training and 20 test images, which the site has."""
    dataset = MODULES[request.param].dataset
    resources = []
    for split, count in (("train", 60), ("test", 20)):
        write_split(site.directory, split, *draw_garments(count, seed=count))
        for path in split_paths(site.directory, split):
            archive = gzip.compress(path.read_bytes())
            path.with_name(f"{path.name}.gz").write_bytes(archive)
            path.unlink()
            resources.append((f"{path.name}.gz", hashlib.md5(archive).hexdigest()))
    monkeypatch.setattr(dataset, "resources", resources)
    monkeypatch.setattr(dataset, "mirrors", ["http://127.0.0.1:9/", site.url])
    return str(request.param)


@pytest.fixture(autouse=True)
def _clear_caches() -> None:
    download_and_verify.cache_clear()
    read_split.cache_clear()


def test_an_option_downloads_and_reads_its_data_set(option: str, site: Site, tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"data={option}", f"data.root={tmp_path}", "data.val_size=10"])
    data = instantiate(cfg.data, _convert_="all")
    assert type(data) is MODULES[option]
    data.prepare_data()
    assert len(site.requests) == 4
    assert data.num_test_images() == 20
    data.setup("fit")
    data.setup("test")
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 50, "val": 10, "test": 20}
    images, labels = draw_garments(20, seed=20)
    assert torch.equal(data.splits["test"].images, torch.from_numpy(images).unsqueeze(1))
    assert torch.equal(data.splits["test"].labels, torch.from_numpy(labels).long())
    assert data.class_names == tuple(data.dataset.classes)
    assert data.directory == tmp_path / data.dataset.__name__ / "raw"


def test_a_damaged_file_is_restored_from_its_archive(option: str, tmp_path: Path) -> None:
    data = MODULES[option](tmp_path)
    data.prepare_data()
    path, _ = split_paths(data.directory, "train")
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    download_and_verify.cache_clear()
    MODULES[option](tmp_path, mirrors=[]).prepare_data()
    assert path.read_bytes() == intact


@pytest.mark.parametrize("option", MODULES)
def test_a_checkpoint_finds_its_data_module_by_option(option: str, tmp_path: Path) -> None:
    data = build_untrusted_datamodule(option, {"root": str(tmp_path), "val_size": 100})
    assert type(data) is MODULES[option] is find_data_module(option)
    assert data.identity["option"] == option
    with pytest.raises(UserError, match=r"data.val_size=60000: invalid value"):
        build_untrusted_datamodule(option, {"val_size": 60_000})


@pytest.mark.parametrize("option", MODULES)
def test_the_files_are_those_of_torchvision(option: str) -> None:
    data = MODULES[option]()
    assert [(f"{file.name}.gz", file.md5) for file in data.files] == data.dataset.resources
    assert {file.name for file in data.files} == {
        path.name for split in ("train", "test") for path in split_paths(Path(), split)
    }
    assert data.mirrors == tuple(data.dataset.mirrors)


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    write_split(tmp_path, "train", images, np.array([3, 1, 2, 0, 9], dtype=np.uint8))
    image_path, label_path = split_paths(tmp_path, "train")
    assert image_path.read_bytes()[:16] == struct.pack(">HBB3I", 0, 8, 3, 5, 28, 28)
    read, labels = read_split(tmp_path, "train")
    assert read.dtype == torch.uint8
    assert read.shape == (5, 1, 28, 28)
    assert np.array_equal(read[:, 0].numpy(), images)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [3, 1, 2, 0, 9]
    assert label_path.read_bytes()[8:] == bytes([3, 1, 2, 0, 9])


def test_a_split_is_read_once_per_process(tmp_path: Path) -> None:
    write_split(tmp_path, "test", np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8))
    assert read_split(tmp_path, "test") is read_split(tmp_path, "test")


def test_different_numbers_of_images_and_labels_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "test", np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.uint8))
    with pytest.raises(UserError, match=r"test files damaged"):
        read_split(tmp_path, "test")
