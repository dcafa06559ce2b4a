"""Drawn garments behind the same files, reader and loaders as Fashion-MNIST."""

from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.datasets import FashionMNIST

from fashion_mlp.data.download import locked, sha256_of
from fashion_mlp.data.garments import draw_garments
from fashion_mlp.data.idx import count_images, image_file, label_file, read_split, write_split
from fashion_mlp.data.module import ImageDataModule
from fashion_mlp.runtime.atomic import atomic_write

CHECKSUMS = "SHA256SUMS"


class SyntheticDataModule(ImageDataModule):
    """Garments drawn from a seed, written once as IDX files: no network, and quick enough for tests.

    Args:
        root: folder under which the files are written.
        train_size: number of training images.
        test_size: number of test images, drawn with a seed of their own.
        seed: of the drawing.
        val_size: images that are held out of the training set.
        **loading: the arguments of `ImageDataModule`.
    """

    option = "synthetic"
    name = "synthetic garments"
    class_names = tuple(FashionMNIST.classes)
    image_shape = (1, 28, 28)

    def __init__(
        self,
        root: str | Path = "data",
        train_size: int = 12_000,
        test_size: int = 2_000,
        seed: int = 0,
        val_size: float = 1000,
        **loading: Any,
    ) -> None:
        super().__init__(val_size=val_size, **loading)
        self.arguments = {"train_size": train_size, "test_size": test_size, "seed": seed}
        self.sizes = {"train": train_size, "test": test_size}
        self.seed = seed
        self.folder = Path(root) / "SyntheticGarments" / f"{train_size}-{test_size}-seed{seed}" / "raw"

    def prepare_data(self) -> None:
        """Draw and write the images, unless they lie there intact.

        Raises:
            UserError: the folder cannot be written.
        """
        if self._is_intact():
            return
        with locked(self.folder):
            if self._is_intact():
                return
            for number, (split, size) in enumerate(self.sizes.items()):
                write_split(self.folder, split, *draw_garments(size, seed=2 * self.seed + number))
            with atomic_write(self.folder / CHECKSUMS) as file:
                file.write(self._checksums())

    def num_test_images(self) -> int:
        return count_images(self.folder, "test")

    def read_split(self, split: str) -> tuple[Tensor, Tensor]:
        return read_split(self.folder, split)

    def _checksums(self) -> bytes:
        """Return what `sha256sum` prints of the files."""
        names = [name for split in self.sizes for name in (image_file(split), label_file(split))]
        return "".join(f"{sha256_of(self.folder / name)}  {name}\n" for name in names).encode()

    def _is_intact(self) -> bool:
        try:
            return self._checksums() == (self.folder / CHECKSUMS).read_bytes()
        except OSError:  # no such file, or a part of its path is one
            return False
