"""IDX files are read as they were written, and a forged header is refused before memory is allocated."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from fashion_mlp.data.idx import read_array, read_split, split_paths
from fashion_mlp.runtime.errors import UserError
from tests.idx_files import write_split


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    write_split(tmp_path, "train", images, np.array([3, 1, 2, 0, 9], dtype=np.uint8))
    image_path, label_path = split_paths(tmp_path, "train")
    assert image_path.read_bytes()[:16] == struct.pack(">HBB3I", 0, 8, 3, 5, 4, 3)
    read, labels = read_split(tmp_path, "train")
    assert read.dtype == torch.uint8
    assert read.shape == (5, 1, 4, 3)
    assert np.array_equal(read[:, 0].numpy(), images)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [3, 1, 2, 0, 9]
    assert label_path.read_bytes()[8:] == bytes([3, 1, 2, 0, 9])


def test_a_split_is_read_once_per_process(tmp_path: Path) -> None:
    write_split(tmp_path, "test", np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.uint8))
    assert read_split(tmp_path, "test") is read_split(tmp_path, "test")


def test_different_numbers_of_images_and_labels_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "test", np.zeros((2, 3, 3), np.uint8), np.zeros(3, np.uint8))
    with pytest.raises(UserError, match=r"2 test images, but 3 labels"):
        read_split(tmp_path, "test")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a valid IDX file of bytes in 1 dimensions"),
        (struct.pack(">HBB", 0, 8, 1), "not a valid IDX file of bytes in 1 dimensions"),
        (struct.pack(">HBBI", 0, 13, 1, 0), "not a valid IDX file of bytes in 1 dimensions"),
        (struct.pack(">HBBI", 0, 8, 3, 2), "not a valid IDX file of bytes in 1 dimensions"),
        (struct.pack(">HBBI", 0, 8, 1, 2**32 - 1) + b"ab", "10 bytes, but 4,294,967,303 by its header"),
        (struct.pack(">HBBI", 0, 8, 1, 2) + b"abc", "11 bytes, but 10 by its header"),
    ],
    ids=["empty", "cut short", "floats", "three dimensions", "forged", "too long"],
)
def test_an_invalid_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as caught:
        read_array(path, dimensions=1)
    assert str(path) in str(caught.value)
