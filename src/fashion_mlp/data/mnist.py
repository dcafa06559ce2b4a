"""MNIST (LeCun et al., 1998), and the base of the data sets that were published in its format."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torchvision import datasets

from fashion_mlp.data.download import DataFile, download_and_verify
from fashion_mlp.data.idx import IDXDataModule


class MNISTDataModule(IDXDataModule, option="mnist"):
    """60,000 training and 10,000 test images of ten classes in four verified files: MNIST, or that of a subclass.

    A subclass sets `name` and `dataset`, and optionally `sha256` and `more_mirrors`.

    Args:
        root: directory in torchvision's layout, `root/MNIST/raw/`; missing files are downloaded to it. Defaults to
            the environment variable `FASHION_MLP_DATA`, or else `data`.
        mirrors: URLs of directories with the four `.gz` files, each with a trailing slash, in order of preference.
            Defaults to torchvision's and `more_mirrors`.
        timeout: seconds to wait for data from a mirror.
        **loading: arguments of `ImageDataModule`.
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
        self.directory = Path(root or os.environ.get("FASHION_MLP_DATA", "data"), self.dataset.__name__, "raw")
        self.mirrors = (*self.dataset.mirrors, *self.more_mirrors) if mirrors is None else tuple(mirrors)
        self.timeout = timeout

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The four files."""
        named = [(archive.removesuffix(".gz"), md5) for archive, md5 in self.dataset.resources]
        return tuple(DataFile(name, md5, self.sha256.get(name, "")) for name, md5 in named)

    def prepare_data(self) -> None:
        """Verify the files; download those that are missing or damaged.

        Raises:
            UserError: a file cannot be downloaded, or the directory cannot be written.
        """
        download_and_verify(self.directory, self.files, self.mirrors, self.timeout)
