"""MNIST (LeCun et al., 1998) and Fashion-MNIST; the base of the data sets that were published in their format."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import datasets

from fashion_mlp.data.download import DataFile, data_root, download_and_verify
from fashion_mlp.data.module import Batch, ImageDataModule
from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError

# Bytes before the pixels and before the labels: the IDX format, https://yann.lecun.com/exdb/mnist/
IMAGE_HEADER, LABEL_HEADER = 16, 8


class IDXDataModule(ImageDataModule):
    """Grey images of 28 x 28 pixels, light on black, in the files of the directory `directory`."""

    image_shape = (1, 28, 28)
    is_light_on_black = True
    directory: Path

    def num_test_images(self) -> int:
        return split_paths(self.directory, "test")[1].stat().st_size - LABEL_HEADER

    def read_split(self, split: str) -> Batch:
        return read_split(self.directory, split)


class MNISTDataModule(IDXDataModule, option="mnist"):
    """MNIST: 60,000 training and 10,000 test images of ten digits; the base class of data sets in the same format.

    A subclass sets `name` and `dataset`, and optionally `sha256` and `more_mirrors`.

    Args:
        root: directory in torchvision's layout, `root/MNIST/raw/`; missing files are downloaded to it.
            By default as in `data_root`.
        mirrors: URLs of directories with the four `.gz` files, each with a trailing slash, in order of preference.
            Defaults to torchvision's and `more_mirrors`.
        timeout: seconds to wait for data from a mirror.
        **loading: further arguments of `ImageDataModule`.
    """

    name = "MNIST"
    # torchvision's class, which has the names and MD5 checksums of the files, the classes and the mirrors.
    dataset: ClassVar[type[datasets.MNIST]] = datasets.MNIST
    # SHA-256 of the unpacked files, by name.
    sha256: ClassVar[Mapping[str, str]] = {}
    more_mirrors: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        root: str | Path | None = None,
        mirrors: Sequence[str] | None = None,
        timeout: float = 20.0,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.class_names = tuple(self.dataset.classes)
        self.directory = data_root(root) / self.dataset.__name__ / "raw"
        self.mirrors = (*self.dataset.mirrors, *self.more_mirrors) if mirrors is None else tuple(mirrors)
        self.timeout = timeout
        named = [(archive.removesuffix(".gz"), md5) for archive, md5 in self.dataset.resources]
        self.files = tuple(DataFile(name, md5, self.sha256.get(name, "")) for name, md5 in named)

    def prepare_data(self) -> None:
        """Verify the files; download those that are missing or damaged.

        Raises:
            UserError: a file cannot be downloaded, or the directory cannot be written.
        """
        download_and_verify(self.directory, self.files, self.mirrors, self.timeout)


class FashionMNISTDataModule(MNISTDataModule, option="fashion_mnist"):
    """60,000 training and 10,000 test images of ten kinds of garments (Xiao et al., 2017, arXiv 1708.07747)."""

    name = "Fashion-MNIST"
    dataset = datasets.FashionMNIST
    left_facing = ("Sandal", "Sneaker", "Ankle boot")
    sha256: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }
    more_mirrors = ("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",)


def split_paths(directory: Path, split: str) -> tuple[Path, Path]:
    """Return the paths of the images and of the labels of a split, "train" or "test"."""
    prefix = {"train": "train", "test": "t10k"}[split]
    return directory / f"{prefix}-images-idx3-ubyte", directory / f"{prefix}-labels-idx1-ubyte"


@lru_cache(maxsize=4)
def read_split(directory: Path, split: str) -> Batch:
    """Read a split once per process, so that the jobs of a multirun share the tensors.

    It is in memory once; torchvision's reader makes a copy. The checksums of the files ensure that the headers are
    valid.

    Returns:
        Images, uint8 `[N, 1, 28, 28]`, and labels, int64 `[N]`.

    Raises:
        UserError: the files were not verified, and are damaged.
    """
    image_path, label_path = split_paths(directory, split)
    labels = torch.from_numpy(np.fromfile(label_path, np.uint8)[LABEL_HEADER:]).long()
    images = torch.from_numpy(np.fromfile(image_path, np.uint8)[IMAGE_HEADER:])
    if len(images) != len(labels) * 28 * 28:
        raise UserError(f"{directory}: {split} files damaged. Type fashion-mlp data, which restores them")
    return images.view(-1, 1, 28, 28), labels


def write_split(directory: Path, split: str, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Write the files that `read_split` reads.

    Args:
        directory: directory of the files.
        split: "train" or "test".
        images: `[N, 28, 28]`.
        labels: `[N]`.
    """
    for path, array in zip(split_paths(directory, split), (images, labels), strict=True):
        with atomic_write(path) as file:
            file.write(bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes())
