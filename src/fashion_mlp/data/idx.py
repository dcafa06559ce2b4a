"""IDX, the file format of MNIST and its successors.

The format: https://web.archive.org/web/20220331130319/https://yann.lecun.com/exdb/mnist/
"""

import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor
from torchvision.datasets.mnist import read_image_file, read_label_file

from fashion_mlp.data.files import replacing

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

    torchvision's own reader, and not its `FashionMNIST` class: that one would prefer an unverified
    `processed/` folder of old to the raw files.

    Returns:
        Images, uint8 `[N, 1, H, W]`, and labels, int64 `[N]`.
    """
    images = read_image_file(str(folder / image_file(split)))
    labels = read_label_file(str(folder / label_file(split)))
    return images.unsqueeze(1), labels


def write_split(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write a split, each file atomically.

    Args:
        folder: an existing folder.
        split: "train" or "test".
        images: uint8 `[N, H, W]`.
        labels: uint8 `[N]`.
    """
    for name, array in ((image_file(split), images), (label_file(split), labels)):
        with replacing(folder / name) as file:
            # Two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each dimension big-endian.
            file.write(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape))
            file.write(np.ascontiguousarray(array, dtype=np.uint8).tobytes())
