"""IDX files: what is written is read back, and a header that lies is found out before anything is allocated."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from fashion_mlp.data.idx import image_file, label_file, read_array, read_split, write_split
from fashion_mlp.runtime.errors import UserError


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    write_split(tmp_path, "train", images, np.array([3, 1, 2, 0, 9], dtype=np.uint8))
    assert (tmp_path / image_file("train")).read_bytes()[:16] == struct.pack(">HBB3I", 0, 8, 3, 5, 4, 3)
    read, labels = read_split(tmp_path, "train")
    assert read.dtype == torch.uint8
    assert read.shape == (5, 1, 4, 3)
    assert np.array_equal(read[:, 0].numpy(), images)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [3, 1, 2, 0, 9]
    assert (tmp_path / label_file("train")).read_bytes()[8:] == bytes([3, 1, 2, 0, 9])


def test_a_split_is_read_once_a_process(tmp_path: Path) -> None:
    write_split(tmp_path, "test", np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.uint8))
    assert read_split(tmp_path, "test") is read_split(tmp_path, "test")


def test_images_and_labels_that_do_not_belong_together(tmp_path: Path) -> None:
    write_split(tmp_path, "test", np.zeros((2, 3, 3), np.uint8), np.zeros(3, np.uint8))
    with pytest.raises(UserError, match=r"2 test images, and 3 labels"):
        read_split(tmp_path, "test")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no IDX file of bytes in 1 dimensions"),
        (struct.pack(">HBB", 0, 8, 1), "no IDX file of bytes in 1 dimensions"),
        (struct.pack(">HBBI", 0, 13, 1, 0), "no IDX file of bytes in 1 dimensions"),
        (struct.pack(">HBBI", 0, 8, 3, 2), "no IDX file of bytes in 1 dimensions"),
        (struct.pack(">HBBI", 0, 8, 1, 2**32 - 1) + b"ab", "10 bytes, where its header says 4,294,967,303"),
        (struct.pack(">HBBI", 0, 8, 1, 2) + b"abc", "11 bytes, where its header says 10"),
    ],
    ids=["empty", "cut short", "floats", "three dimensions", "forged", "too long"],
)
def test_a_file_that_is_not_what_it_says(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as told:
        read_array(path, dimensions=1)
    assert str(path) in str(told.value)
