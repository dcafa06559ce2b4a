"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017, arXiv 1708.07747)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.datasets import FashionMNIST

from fashion_mlp.data.download import DataFile, download_and_verify
from fashion_mlp.data.idx import count_images, image_file, label_file, read_split
from fashion_mlp.data.module import ImageDataModule

MIRRORS = (
    *FashionMNIST.mirrors,
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
FILES = (
    DataFile(image_file("train"), 47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    DataFile(label_file("train"), 60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    DataFile(image_file("test"), 7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    DataFile(label_file("test"), 10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
)


class FashionMNISTDataModule(ImageDataModule):
    """torchvision's `FashionMNIST`, 60,000 training and 10,000 test images, verified and in memory.

    Args:
        root: folder in torchvision's layout, `root/FashionMNIST/raw/`; what it lacks is downloaded into it. By default
            what the environment variable `FASHION_MLP_DATA` names, else `data`.
        mirrors: URLs of folders with the four `.gz` files, each with a trailing slash, tried in order.
        timeout: seconds that a mirror may stay silent.
        **loading: the arguments of `ImageDataModule`.
    """

    option = "fashion_mnist"
    name = "Fashion-MNIST"
    class_names = tuple(FashionMNIST.classes)
    image_shape = (1, 28, 28)

    def __init__(
        self,
        root: str | Path | None = None,
        mirrors: Sequence[str] = MIRRORS,
        timeout: float = 20.0,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.folder = Path(root or os.environ.get("FASHION_MLP_DATA", "data")) / "FashionMNIST" / "raw"
        self.mirrors = tuple(mirrors)
        self.timeout = timeout

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"sha256": {file.name: file.sha256 for file in FILES}}

    def prepare_data(self) -> None:
        """Verify the four files by their SHA-256; download those that are missing or damaged.

        Raises:
            UserError: a file can be had from nowhere, or the folder cannot be written.
        """
        download_and_verify(self.folder, FILES, self.mirrors, self.timeout)

    def num_test_images(self) -> int:
        return count_images(self.folder, "test")

    def read_split(self, split: str) -> tuple[Tensor, Tensor]:
        return read_split(self.folder, split)
