"""Write IDX files, the format of MNIST."""

import struct
from pathlib import Path

import numpy as np

from fashion_mlp.data.mnist import split_paths


def write_split(directory: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write images, uint8 `[N, H, W]`, and labels, uint8 `[N]`, of the split "train" or "test"."""
    for path, array in zip(split_paths(directory, split), (images, labels), strict=True):
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        path.write_bytes(header + array.tobytes())
