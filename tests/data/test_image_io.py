"""Images of each format become uint8 tensors; other files and huge images are refused before they are decoded."""

import contextlib
import os
import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_mlp.data.image_io import MAX_PIXELS, read_image, resize, shrink
from fashion_mlp.runtime.errors import UserError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_gray_png_is_read_exactly(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 20), np.uint8)
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(pixels)))
    image = read_image(tmp_path / "x.png", "gray")
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(pixels).unsqueeze(0))
    assert read_image(tmp_path / "x.png", "rgb").shape == (3, 28, 20)


def test_color_becomes_gray_by_luma() -> None:
    green = encoded(Image.new("RGB", (4, 4), (0, 255, 0)))
    assert set(read_image(green, "gray").flatten().tolist()) == {150}
    assert read_image(green, "rgb")[:, 0, 0].tolist() == [0, 255, 0]


def test_a_transparent_background_is_white() -> None:
    clear = encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))
    assert set(read_image(clear, "gray").flatten().tolist()) == {255}


def test_sixteen_bits_keep_the_upper_eight() -> None:
    deep = Image.fromarray(np.full((3, 3), 0x8040, np.uint16))
    assert set(read_image(encoded(deep), "gray").flatten().tolist()) == {0x80}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_rotated_once_by_its_exif_orientation(kind: str) -> None:
    image = Image.new("L", (40, 20))
    image.paste(255, (0, 0, 20, 20))  # the left half, which becomes the top
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    turned = read_image(encoded(image, kind, exif=exif), "gray")
    assert turned.shape == (1, 40, 20)
    assert turned[0, :16].min() > 200
    assert turned[0, 24:].max() < 50


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_an_image_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match=r"is not an image|cannot be read"):
        read_image(content, "gray")


def test_a_truncated_image_is_refused() -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)))
    with pytest.raises(UserError, match=r"cannot be read"):
        read_image(whole[: len(whole) // 2], "gray")


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") for chunk in chunks
    )


def header(width: int, height: int) -> bytes:
    return b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])


SIDE = int(MAX_PIXELS**0.5) + 1
# Zeros that would take several times the memory that reading an image may take.
COMPRESSED = zlib.compress(bytes(32_000_000))


def bmp(width: int, height: int) -> bytes:
    return (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 1078, 0, 1078, 40, width, height, 1, 8, 0, 0, 0, 0, 0, 0) + bytes(1024)
    )


def gif(width: int, height: int) -> bytes:
    """Return a small screen with a large frame."""
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"," + struct.pack("<HHHHBB", 0, 0, width, height, 0, 2)


def webp(width: int, height: int) -> bytes:
    chunk = b"VP8X" + struct.pack("<II", 10, 2) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def many_tags(count: int, size: int) -> bytes:
    """Return EXIF data, which is a TIFF, with many tags that share the same bytes."""
    table = b"".join(struct.pack("<HHII", 30_000 + number, 7, size, 0) for number in range(count))
    return b"II*\0" + struct.pack("<IH", 8, count) + table + bytes(4) + bytes(size)


def exif_in_png(exif: bytes) -> bytes:
    return png(header(1, 1), b"eXIf" + exif, b"IDAT" + zlib.compress(bytes(2)), b"IEND")


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (png(header(SIDE, SIDE), b"IDAT" + zlib.compress(bytes(1000)), b"IEND"), rf"has {SIDE} x {SIDE} pixels"),
        (png(header(50_000, 50_000), b"IDAT" + zlib.compress(bytes(1000)), b"IEND"), r"exceeds limit"),
        (png(header(12_000, 12_000), b"IDAT", b"IEND"), r"has 12000 x 12000 pixels"),  # where Pillow only warns
        (bmp(30_000, 30_000), r"exceeds limit"),
        (gif(60_000, 60_000), r"exceeds limit"),
        (webp(16_000, 16_000), r"exceeds limit|could not create decoder"),  # the latter by Pillow before 13
        (png(header(1, 1), b"zTXta\0\0" + COMPRESSED, b"IDAT", b"IEND"), r"too large"),
        (png(header(1, 1), b"iCCPa\0\0" + COMPRESSED, b"IDAT", b"IEND"), r"cannot be read"),
        (exif_in_png(many_tags(5000, 100_000)), r"has more than 65,536 bytes of EXIF data"),
    ],
    ids=[
        *("PNG", "a larger PNG", "a PNG between", "BMP", "GIF", "WebP", "text in a PNG", "profile in a PNG"),
        "EXIF in a PNG",
    ],
)
def test_a_bomb_is_refused_before_it_is_decoded(bomb: bytes, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message):
            read_image(bomb, "gray")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_photograph_of_81_megapixels_is_read() -> None:
    photo = encoded(Image.new("L", (9000, 9000), 90), "JPEG")
    image = read_image(photo, "gray", min_side=1024)
    assert image.shape == (1, 1125, 1125)
    assert (image == 90).all()


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PPM", "PCX", "TGA", "ICO", "TIFF"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match=r"is not an image \(PNG, JPEG, WEBP, GIF, BMP\)"):
        read_image(encoded(Image.new("RGB", (16, 16)), kind), "gray")


def test_the_first_of_several_frames_is_read() -> None:
    frames = [Image.new("L", (8, 8), level) for level in (50, 100, 150)]
    for kind in ("GIF", "PNG", "WEBP"):
        several = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert set(read_image(several, "gray").flatten().tolist()) == {50}


def test_a_pipe_or_device_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "device.png", "."):
        with pytest.raises(UserError, match=r"is not a regular file"):
            read_image(tmp_path / name, "gray")


def test_an_exif_entry_of_a_wrong_type_is_reported() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    damaged = bytearray(encoded(Image.new("L", (8, 8)), "JPEG", exif=exif))
    damaged[damaged.index(b"MM\0*") + 11] = 0  # Pillow then fails by struct.error
    with pytest.raises(UserError, match=r"cannot be read"):
        read_image(bytes(damaged), "gray")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_damaged_file_raises_no_other_error(kind: str) -> None:
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    whole = encoded(Image.fromarray(random.integers(0, 256, (16, 16), np.uint8)), kind, exif=exif)
    for _ in range(100):
        damaged = bytearray(whole)
        for place in random.integers(0, min(len(whole), 200), 4):
            damaged[place] = random.integers(0, 256)
        with contextlib.suppress(UserError):
            assert read_image(bytes(damaged), "rgb").shape[0] == 3


def test_a_large_image_is_reduced() -> None:
    rows, columns = np.mgrid[:1200, :900]
    image = Image.fromarray((127 + 80 * np.sin(rows / 90) + 40 * np.cos(columns / 70)).astype(np.uint8))
    whole = read_image(encoded(image, "JPEG", quality=95), "gray")
    half = read_image(encoded(image, "JPEG", quality=95), "gray", min_side=300)
    assert (whole.shape, half.shape) == ((1, 1200, 900), (1, 600, 450))
    averaged = torch.nn.functional.avg_pool2d(whole.float(), 2)
    assert (averaged - half).abs().max() <= 3
    for mode in ("L", "RGBA", "P"):
        third = read_image(encoded(image.convert(mode)), "gray", min_side=300)
        averaged = torch.nn.functional.avg_pool2d(read_image(encoded(image.convert(mode)), "gray").float(), 3)
        assert third.shape == (1, 400, 300)
        assert (averaged - third).abs().max() <= 1


def test_a_long_image_is_reduced() -> None:
    assert read_image(encoded(Image.new("RGBA", (90_000, 2))), "rgb", min_side=100).shape == (3, 1, 22_500)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_bands_of_rows_join_without_a_seam(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 20, 4), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    overlay = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay).convert("RGB")
    assert np.array_equal(read_image(encoded(image), "rgb").permute(1, 2, 0), np.asarray(flat))


def test_resizing_keeps_an_image_of_the_right_size() -> None:
    image = torch.randint(0, 256, (3, 10, 12), dtype=torch.uint8)
    assert resize(image, (10, 12)) is image
    assert shrink(image, 600) is image
    assert resize(image, (5, 7)).shape == (3, 5, 7)
    assert resize(image, (5, 7)).dtype == torch.uint8
