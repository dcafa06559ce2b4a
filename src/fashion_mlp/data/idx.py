"""IDX, the file format of MNIST and its successors.

Two zero bytes, a byte for the type, a byte for the number of dimensions, each dimension as four bytes, big-endian; then
the numbers. The format: https://web.archive.org/web/20220331130319/https://yann.lecun.com/exdb/mnist/
"""

import struct
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError

# The type of these files.
UNSIGNED_BYTES = 8
SPLIT_PREFIX = {"train": "train", "test": "t10k"}


def image_file(split: str) -> str:
    """Return the name of the image file of a split, "train" or "test"."""
    return f"{SPLIT_PREFIX[split]}-images-idx3-ubyte"


def label_file(split: str) -> str:
    """Return the name of the label file of a split, "train" or "test"."""
    return f"{SPLIT_PREFIX[split]}-labels-idx1-ubyte"


@lru_cache(maxsize=4)
def read_split(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read a split once a process: the jobs of a multirun share the tensors.

    Returns:
        Images, uint8 `[N, 1, H, W]`, and labels, int64 `[N]`.

    Raises:
        UserError: a file is not what it should be.
    """
    images = read_array(folder / image_file(split), dimensions=3)
    labels = read_array(folder / label_file(split), dimensions=1)
    if len(images) != len(labels):
        raise UserError(f"{folder}: {len(images):,} {split} images, and {len(labels):,} labels")
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long()


def count_images(folder: Path, split: str) -> int:
    """Return the number of images of a split, from the header of its label file."""
    return read_shape(folder / label_file(split), dimensions=1)[0]


def read_array(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an array of bytes, with one copy in memory; torchvision's reader makes two.

    Raises:
        UserError: the file is not valid.
    """
    shape = read_shape(path, dimensions)
    return np.fromfile(path, np.uint8, offset=path.stat().st_size - prod(shape)).reshape(shape)


def read_shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """Read the shape of an array of bytes from its header.

    Raises:
        UserError: the file has no such header, or another size than its header states.
    """
    expected = struct.pack(">HBB", 0, UNSIGNED_BYTES, dimensions)
    with path.open("rb") as file:
        header = file.read(len(expected) + 4 * dimensions)
    if not header.startswith(expected) or len(header) < len(expected) + 4 * dimensions:
        raise UserError(f"{path}: no IDX file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", header[len(expected) :])
    if path.stat().st_size != len(header) + prod(shape):
        raise UserError(f"{path}: {path.stat().st_size:,} bytes, where its header says {len(header) + prod(shape):,}")
    return shape


def write_split(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write a split, each file atomically.

    Args:
        folder: an existing folder.
        split: "train" or "test".
        images: uint8 `[N, H, W]`.
        labels: uint8 `[N]`.
    """
    for name, array in ((image_file(split), images), (label_file(split), labels)):
        with atomic_write(folder / name) as file:
            file.write(struct.pack(f">HBB{array.ndim}I", 0, UNSIGNED_BYTES, array.ndim, *array.shape))
            file.write(np.ascontiguousarray(array, dtype=np.uint8).tobytes())
