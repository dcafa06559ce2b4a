"""Synthetic images of garments, in files like those of Fashion-MNIST."""

from pathlib import Path
from typing import Any

from torchvision.datasets import FashionMNIST

from fashion_mlp.data.download import lock_directory
from fashion_mlp.data.garments import draw_garments
from fashion_mlp.data.idx import IDXDataModule, count_images, write_split
from fashion_mlp.runtime.errors import UserError


class SyntheticDataModule(IDXDataModule, option="synthetic"):
    """Garments drawn from a seed and written once: no network, and fast enough for tests.

    Args:
        root: directory of the data sets.
        train_size: number of training images.
        test_size: number of test images, which have a seed of their own.
        seed: seed of the drawings.
        val_size: number of training images to hold out for validation.
        **loading: arguments of `ImageDataModule`.
    """

    name = "synthetic garments"
    left_facing = ("Sandal", "Sneaker", "Ankle boot")
    class_names = tuple(FashionMNIST.classes)

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
        self.directory = Path(root, "SyntheticGarments", f"{train_size}-{test_size}-seed{seed}", "raw")

    def prepare_data(self) -> None:
        """Draw and write the images that do not exist.

        Raises:
            UserError: the directory cannot be written.
        """
        if self._exists():
            return
        with lock_directory(self.directory):
            if not self._exists():  # another process may have written them
                for number, (split, size) in enumerate(self.sizes.items()):
                    write_split(self.directory, split, *draw_garments(size, seed=2 * self.seed + number))

    def _exists(self) -> bool:
        try:
            return all(count_images(self.directory, split) == size for split, size in self.sizes.items())
        except (OSError, UserError):  # no such file, or a damaged one
            return False
