"""Image files of any kind to uint8 tensors of one kind."""

import warnings
from collections import Counter
from io import BufferedReader, BytesIO, FileIO
from math import isqrt
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional

from fashion_mlp.runtime.console import printable
from fashion_mlp.runtime.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# Those that cameras and image editors write; libtiff has others that few people use.
TIFF_COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg")
# A larger picture is refused before it is decoded: a small file can hold a huge one. This many take up to 1.2 GiB.
MAX_PIXELS = 64_000_000
# Bytes of EXIF data, as in a JPEG segment: its entries can share bytes, and Pillow copies these for each entry.
MAX_EXIF = 1 << 16
# How often a file is read at most, for the same reason: Pillow reads the entries of a TIFF four times.
MAX_READS = 16

Mode = Literal["gray", "rgb"]


def mode_of(channels: int) -> Mode:
    """Return the mode that gives pictures of one channel, or of three."""
    return "gray" if channels == 1 else "rgb"


def skip_reason(name: str) -> str:
    """Return why a file, or a folder whose name ends in "/", is not read as an image; nothing if it is."""
    if name.startswith("."):  # also the files named `._*` in which macOS stores attributes
        return "hidden"
    if name.endswith("/"):
        return "folders"
    return "" if name.lower().endswith(SUFFIXES) else Path(name).suffix.lower() or "without a suffix"


def describe_skipped(place: str | Path, reasons: Counter[str]) -> str:
    """Return a line that says how many files and folders were left out, and why.

    Args:
        place: the folder.
        reasons: how many files there are for each reason.
    """
    told = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common(5))
    rest = reasons.total() - sum(count for _, count in reasons.most_common(5))
    told += f", others: {rest}" if rest else ""
    return printable(f"{place}: {reasons.total()} entries left out ({told}); images end in {', '.join(SUFFIXES)}")


class _BoundedReader(BufferedReader):
    """A file that can be read `MAX_READS` times."""

    def __init__(self, raw: FileIO | BytesIO) -> None:
        super().__init__(raw)
        self._left = MAX_READS * raw.seek(0, 2) + (1 << 16)
        raw.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._left -= len(content)
        if self._left < 0:
            raise UserError("refers to the same bytes many times, and would fill the memory")
        return content


def read_image(source: Path | bytes, mode: Mode, *, min_side: int | None = None) -> Tensor:
    """Read one picture, turned as its EXIF entry says and laid on white where it is transparent.

    Pillow and not `torchvision.io`, whose decoders are deprecated since torchvision 0.29; its header is read, and its
    size known, before anything is decoded.

    Args:
        source: a file, or its content.
        mode: one channel or three.
        min_side: pixels a side that will do. A larger picture is averaged over squares of pixels, down to about this
            size. A JPEG file is decoded at a half, a quarter or an eighth of its size, which takes less time too.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        UserError: it is no picture, damaged, or too large.
    """
    try:
        if isinstance(source, Path) and not source.is_file():  # a pipe or a device could be read for ever
            raise UserError("is no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is then refused, or does not matter
            raw = BytesIO(source) if isinstance(source, bytes) else FileIO(source)
            with _BoundedReader(raw) as file:
                return _read(file, mode, min_side)
    except UnidentifiedImageError as error:
        raise UserError(f"is no picture ({', '.join(FORMATS)})") from error
    except UserError:
        raise
    except Exception as error:  # on a damaged file, Pillow's decoders fail in many ways
        raise UserError(f"cannot be read ({error})") from error


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a picture, uint8 `[C, H, W]`, to a height and width; one of that size stays as it is."""
    resized: Tensor = functional.resize(picture, list(size), antialias=True)
    return resized


def _read(file: BufferedReader, mode: Mode, min_side: int | None) -> Tensor:
    # Named, since Pillow would hand others to programs (EPS to Ghostscript) or to decoders that few have looked at.
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _check_tiff(image)
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        image.load()
        if any(len(image.info.get(name, "")) > MAX_EXIF for name in ("exif", "Raw profile type exif")):
            raise UserError(f"has more than {MAX_EXIF:,} bytes of EXIF data")
        factor = max(1, isqrt(image.width * image.height) // min_side) if min_side is not None else 1
        ImageOps.exif_transpose(image, in_place=True)
        return _to_tensor(image, mode, factor)


def _check_tiff(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse what libtiff would need much memory for, and what Pillow would read as other grey levels.

    Raises:
        UserError: an unusual compression, large tiles, signed numbers or floats, or other than 8 or 16 bits.
    """
    tags = image.tag_v2
    if (compression := image.info["compression"]) not in TIFF_COMPRESSIONS:
        raise UserError(f"is a TIFF with the compression {compression}; save it without, or as PNG")
    width, height = (tags.get(tag, 1) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
    if width * height > MAX_PIXELS:
        raise UserError(f"has tiles of {width} x {height} pixels, more than {MAX_PIXELS:,}")
    bits, kinds = (tags.get(tag, (1,)) for tag in (TiffImagePlugin.BITSPERSAMPLE, TiffImagePlugin.SAMPLEFORMAT))
    is_inverted = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    if set(kinds) != {1} or not {1, 2, 4, 8, 16}.issuperset(bits) or (is_inverted and 16 in bits):
        raise UserError("has an unsupported pixel format; save it with 8 unsigned bits per channel, 0 for black")


def _to_tensor(image: Image.Image, mode: Mode, factor: int) -> Tensor:
    """Convert by bands of rows, since each step on a whole picture of 64 megapixels would take 256 MB."""
    height = 64 * factor
    bands = (
        _flatten(image.crop((0, top, image.width, min(top + height, image.height))), mode).reduce(factor)
        for top in range(0, image.height, height)
    )
    return torch.cat([functional.pil_to_tensor(band) for band in bands], dim=1)


def _flatten(image: Image.Image, mode: Mode) -> Image.Image:
    """Return a picture of 8 bits a channel, without transparency or palette."""
    if image.mode.startswith("I"):  # 16 bits a pixel, of which Pillow would keep the lower eight
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay)
    return image.convert("L" if mode == "gray" else "RGB")
