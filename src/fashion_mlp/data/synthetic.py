"""Synthetic images of garments, of the size and the classes of Fashion-MNIST."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.datasets import FashionMNIST

from fashion_mlp.data.download import lock_directory
from fashion_mlp.data.garments import SIZE, draw_garments
from fashion_mlp.data.module import Batch, ImageDataModule
from fashion_mlp.runtime.atomic import atomic_write


class SyntheticDataModule(ImageDataModule, option="synthetic"):
    """Garments drawn from a seed and written once: no network, and fast enough for tests.

    Args:
        root: directory of the data sets.
        train_size: number of training images.
        test_size: number of test images, which have a separate seed.
        seed: seed of the drawings.
        val_size: number of training images to hold out for validation.
        **loading: arguments of `ImageDataModule`.
    """

    name = "synthetic garments"
    left_facing = ("Sandal", "Sneaker", "Ankle boot")
    class_names = tuple(FashionMNIST.classes)
    image_shape = (1, SIZE, SIZE)
    is_light_on_black = True

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
        self.directory = Path(root, "SyntheticGarments", f"{train_size}-{test_size}-seed{seed}").expanduser()

    def prepare_data(self) -> None:
        """Draw the images whose file is missing or damaged.

        Raises:
            UserError: the directory cannot be written.
        """
        if all(map(self._is_intact, self.sizes)):
            return
        with lock_directory(self.directory):
            for number, (split, size) in enumerate(self.sizes.items()):
                if not self._is_intact(split):  # another process may have written it
                    images, labels = draw_garments(size, seed=2 * self.seed + number)
                    with atomic_write(self._path(split)) as file:
                        np.savez(file, images=images, labels=labels)

    def num_test_images(self) -> int:
        return self.sizes["test"]

    def read_split(self, split: str) -> Batch:
        return _read(self._path(split), self.sizes[split])

    def _path(self, split: str) -> Path:
        return self.directory / f"{split}.npz"

    def _is_intact(self, split: str) -> bool:
        try:
            _read(self._path(split), self.sizes[split])
        except OSError:
            return False
        return True


@lru_cache(maxsize=4)
def _read(path: Path, size: int) -> Batch:
    """Read and verify a file once per process, so that the jobs of a multirun share the tensors.

    NumPy compares each array with its CRC-32 once all its bytes are read, which the shapes ensure.

    Returns:
        Images, uint8 `[N, 1, 28, 28]`, and labels, int64 `[N]`.

    Raises:
        OSError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
        if images.shape != (size, SIZE, SIZE) or labels.shape != (size,):
            raise ValueError(f"shapes {list(images.shape)} and {list(labels.shape)} of {size} images and labels")
    except Exception as error:  # for a damaged file, of many types
        raise OSError(f"{path}: missing or damaged ({error})") from error
    return images.unsqueeze(1), labels.long()
