"""Pictures of every kind become uint8 tensors of one kind; what is none is refused, huge ones unread."""

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_mlp.data.pictures import MAX_PIXELS, read_picture, resize
from fashion_mlp.errors import UserError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_grey_png_comes_back_to_the_byte(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 20), np.uint8)
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(pixels)))
    picture = read_picture(tmp_path / "x.png", "gray")
    assert picture.dtype == torch.uint8
    assert torch.equal(picture, torch.from_numpy(pixels).unsqueeze(0))
    assert read_picture(tmp_path / "x.png", "rgb").shape == (3, 28, 20)


def test_colour_becomes_grey_by_luma() -> None:
    green = encoded(Image.new("RGB", (4, 4), (0, 255, 0)))
    assert set(read_picture(green, "gray").flatten().tolist()) == {150}
    assert read_picture(green, "rgb")[:, 0, 0].tolist() == [0, 255, 0]


def test_transparency_is_white() -> None:
    clear = encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))
    assert set(read_picture(clear, "gray").flatten().tolist()) == {255}


def test_sixteen_bits_keep_the_upper_eight() -> None:
    deep = Image.fromarray(np.full((3, 3), 0x8040, np.uint16))
    assert set(read_picture(encoded(deep), "gray").flatten().tolist()) == {0x80}


def test_a_photograph_is_turned_as_its_camera_was() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    assert read_picture(encoded(Image.new("L", (40, 20)), "JPEG", exif=exif), "gray").shape == (1, 40, 20)


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match=r"is no picture|cannot be read"):
        read_picture(content, "gray")


def test_a_picture_cut_short_is_refused() -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)))
    with pytest.raises(UserError, match=r"cannot be read"):
        read_picture(whole[: len(whole) // 2], "gray")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    chunks = [header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") for chunk in chunks
    )
    with pytest.raises(UserError, match=rf"has {side} x {side} pixels"):
        read_picture(bomb, "gray")


def test_resizing_leaves_the_right_size_alone() -> None:
    picture = torch.randint(0, 256, (3, 10, 12), dtype=torch.uint8)
    assert resize(picture, (10, 12)) is picture
    assert resize(picture, (5, 7)).shape == (3, 5, 7)
    assert resize(picture, (5, 7)).dtype == torch.uint8
