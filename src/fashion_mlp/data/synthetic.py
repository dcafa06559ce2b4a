"""Synthetic images of garments, with the image size and the classes of Fashion-MNIST.

They are drawn from outlines and contain nothing of Fashion-MNIST. A pipeline runs on them without a download, but the
accuracy on them says nothing about the accuracy on the real data set.
"""

import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fashion_mlp.data.download import data_root, lock_directory
from fashion_mlp.data.mnist import IMAGE_HEADER, LABEL_HEADER, IDXDataModule, split_paths, write_split

SIZE = 28
# Images are drawn this many times larger and averaged, for smooth edges.
OVERSAMPLING = 4

# The outlines of each class, in the order of the labels. Points are (x, y) in [-1, 1], with y downwards; half of the
# drawings are mirrored.
GARMENTS: dict[str, list[list[list[float]]]] = json.loads(Path(__file__).with_name("garments.json").read_text())

Bytes: TypeAlias = npt.NDArray[np.uint8]


class SyntheticDataModule(IDXDataModule, option="synthetic"):
    """Garments drawn from a seed and written once: no network, and fast enough for tests.

    Args:
        root: directory of the data sets, by default as in `data_root`.
        train_size: number of training images.
        test_size: number of test images, which have a separate seed.
        seed: seed of the drawings.
        val_size: number of training images to hold out for validation.
        **loading: further arguments of `ImageDataModule`.
    """

    name = "synthetic garments"
    class_names = tuple(GARMENTS)

    def __init__(
        self,
        root: str | Path | None = None,
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
        self.directory = data_root(root) / "SyntheticGarments" / f"{train_size}-{test_size}-seed{seed}"

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
                    write_split(self.directory, split, images, labels)

    def _is_intact(self, split: str) -> bool:
        sizes = IMAGE_HEADER + self.sizes[split] * SIZE**2, LABEL_HEADER + self.sizes[split]
        paths = split_paths(self.directory, split)
        return all(path.is_file() and path.stat().st_size == size for path, size in zip(paths, sizes, strict=True))


def draw_garments(count: int, seed: int) -> tuple[Bytes, Bytes]:
    """Draw labelled garments, light on black, reproducibly for the same versions of NumPy and Pillow.

    Args:
        count: number of images, at least 1.
        seed: seed of the labels and of the drawings, at least 0.

    Returns:
        Images, uint8 `[count, 28, 28]`, and labels, uint8 `[count]`; class sizes differ by at most one.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % len(GARMENTS)).astype(np.uint8)
    outlines = list(GARMENTS.values())
    return np.stack([_draw(outlines[label], rng) for label in labels]), labels


def _draw(outlines: list[list[list[float]]], rng: np.random.Generator) -> Bytes:
    """Draw a garment with random proportions, position, brightness and pattern, as uint8 `[28, 28]`."""
    image = Image.new("L", (OVERSAMPLING * SIZE, OVERSAMPLING * SIZE))
    scale, shift = rng.uniform(0.75, 1, 2) * (rng.choice((-1, 1)), 1), rng.uniform(-0.2, 0.2, 2)
    for outline in outlines:
        points = (np.array(outline) + rng.normal(0, 0.05, (len(outline), 2))) * scale + shift
        places = (points + 1) * (OVERSAMPLING * SIZE / 2)
        ImageDraw.Draw(image).polygon(places.flatten().tolist(), fill=int(rng.integers(128, 256)))
    # Stripes and noise are factors, so that the background remains black.
    position = np.arange(SIZE) * rng.uniform(0.5, 1.5) + rng.uniform(0, 2 * np.pi)
    stripes = 1 - rng.choice((0, 0.7)) * (np.sin(position) > 0)
    noise = 1 + 0.06 * rng.standard_normal((SIZE, SIZE), np.float32)
    light = np.asarray(image.reduce(OVERSAMPLING)) * (stripes if rng.random() < 0.5 else stripes[:, None]) * noise
    return np.asarray(light.clip(0, 255), np.uint8)
