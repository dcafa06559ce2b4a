"""The real Fashion-MNIST: its directory, its content, and its download."""

import shutil
from pathlib import Path

import pytest
import torch
from torchvision.datasets import FashionMNIST

from fashion_mlp.data import FashionMNISTDataModule
from fashion_mlp.runtime.errors import UserError
from tests.data.conftest import Site, serve


def test_the_files_are_those_of_torchvision() -> None:
    data = FashionMNISTDataModule(root="somewhere")
    assert [(f"{file.name}.gz", file.md5) for file in data.files] == FashionMNIST.resources
    assert {file.name: file.sha256 for file in data.files} == data.sha256
    assert all(data.sha256.values())
    assert data.directory == Path("somewhere/FashionMNIST/raw")
    assert data.class_names == tuple(FashionMNIST.classes)


def test_without_network_and_data_the_run_says_so(tmp_path: Path) -> None:
    data = FashionMNISTDataModule(root=tmp_path, mirrors=["http://127.0.0.1:9/"], timeout=2)
    with pytest.raises(UserError, match="data=synthetic"):
        data.prepare_data()


@pytest.mark.real_data
def test_the_real_set_is_what_the_paper_says(real_data: Path) -> None:
    data = FashionMNISTDataModule(root=real_data, mirrors=[])
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    train, val, test = (data.splits[split] for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (55_000, 5_000, 10_000)
    assert torch.bincount(val.labels[val.indices]).tolist() == [500] * 10
    pixels = train.images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.28604, abs=1e-5)
    assert pixels.std().item() == pytest.approx(0.35302, abs=1e-5)
    assert data.class_names[int(test[0][1])] == "Ankle boot"
    theirs = FashionMNIST(str(real_data), train=False)
    assert torch.equal(test.images.squeeze(1), theirs.data)
    assert torch.equal(test.labels, theirs.targets)


@pytest.mark.real_data
def test_the_real_set_is_downloaded_and_a_damaged_file_fetched_again(real_data: Path, tmp_path: Path) -> None:
    site = Site(real_data / "FashionMNIST" / "raw")
    server = serve(site)
    try:
        data = FashionMNISTDataModule(root=tmp_path, mirrors=["http://127.0.0.1:9/", site.url])
        data.prepare_data()
        assert len(site.requests) == 4
        assert all(file.is_intact(data.directory) for file in data.files)
    finally:
        server.shutdown()
        server.server_close()
    damaged = data.directory / data.files[1].name
    damaged.write_bytes(bytes(60_008))
    shutil.copy(real_data / "FashionMNIST" / "raw" / f"{data.files[1].name}.gz", data.directory)
    again = FashionMNISTDataModule(root=tmp_path, mirrors=[])
    again.prepare_data()
    assert data.files[1].is_intact(again.directory)
