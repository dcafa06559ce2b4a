"""IDX, the file format of MNIST.

Two zero bytes, the type and the number of dimensions as one byte each, the dimensions as four bytes each, big-endian;
then the numbers. See https://web.archive.org/web/20220331130319/https://yann.lecun.com/exdb/mnist/
"""

import struct
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashion_mlp.runtime.errors import UserError

# The type of the numbers.
UNSIGNED_BYTE = 8


def split_paths(directory: Path, split: str) -> tuple[Path, Path]:
    """Return the paths of the images and of the labels of a split, "train" or "test"."""
    prefix = {"train": "train", "test": "t10k"}[split]
    return directory / f"{prefix}-images-idx3-ubyte", directory / f"{prefix}-labels-idx1-ubyte"


@lru_cache(maxsize=4)
def read_split(directory: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read a split once per process, so that the jobs of a multirun share the tensors.

    Returns:
        Images, uint8 `[N, 1, H, W]`, and labels, int64 `[N]`.

    Raises:
        UserError: a file is not valid.
    """
    images, labels = map(read_array, split_paths(directory, split), (3, 1))
    if len(images) != len(labels):
        raise UserError(f"{directory}: {len(images):,} {split} images, but {len(labels):,} labels")
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long()


def read_array(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an array of bytes with one copy in memory; torchvision's reader makes two.

    Raises:
        UserError: the file is not valid.
    """
    shape = read_shape(path, dimensions)
    return np.fromfile(path, np.uint8, offset=path.stat().st_size - prod(shape)).reshape(shape)


def read_shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """Read the shape of an array of bytes from its header.

    Raises:
        UserError: the header is not valid, or does not match the size of the file.
    """
    magic = struct.pack(">HBB", 0, UNSIGNED_BYTE, dimensions)
    with path.open("rb") as file:
        header = file.read(len(magic) + 4 * dimensions)
    if not header.startswith(magic) or len(header) < len(magic) + 4 * dimensions:
        raise UserError(f"{path}: not a valid IDX file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", header[len(magic) :])
    size, expected = path.stat().st_size, len(header) + prod(shape)
    if size != expected:
        raise UserError(f"{path}: {size:,} bytes, but {expected:,} by its header")
    return shape
