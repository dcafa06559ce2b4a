"""Find image files of several formats, read them as uint8 tensors, and resize these."""

import logging
import warnings
from collections.abc import Sequence
from glob import glob
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from fashion_mlp.runtime.console import printable
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.ranks import is_rank_zero

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
# A small file can contain a huge image. 10,000 x 10,000 pixels take up to 1.9 GiB.
MAX_PIXELS = 100_000_000
# Bytes of EXIF data, as in a JPEG segment: its entries can share bytes, which Pillow copies for each entry.
MAX_EXIF = 1 << 16

Mode = Literal["gray", "rgb"]


def mode_of(channels: int) -> Mode:
    """Return the mode for images of one or three channels."""
    return "gray" if channels == 1 else "rgb"


def is_image_name(name: str) -> bool:
    """Return True for the name of an image file; hidden files include `._*`, in which macOS stores attributes."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def warn_of_skipped(directory: Path, count: int) -> None:
    """Log how many entries of a directory are skipped, if any."""
    if count and is_rank_zero():
        log.warning(printable(f"{directory}: {count} entries skipped. Images end in {', '.join(SUFFIXES)}"))


def find_images(patterns: Sequence[str]) -> list[Path]:
    """Return the image files that paths, directories and globs name, in order, without duplicates.

    Of a directory, these are the files with the suffix of an image. A line is logged if others are skipped.

    Raises:
        UserError: a pattern matches nothing, or a directory cannot be read.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        try:
            if path.is_dir():
                entries = sorted(path.iterdir())
                files = [entry for entry in entries if is_image_name(entry.name) and not entry.is_dir()]
                warn_of_skipped(path, len(entries) - len(files))
            else:
                files = [path] if path.is_file() else sorted(map(Path, glob(pattern, recursive=True)))  # noqa: PTH207
        except OSError as error:
            raise UserError(f"{pattern}: cannot be read ({error.strerror})") from error
        if not files:
            raise UserError(f"{pattern}: no such image. Expected image files, directories with images, or globs")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_image(source: Path | bytes, mode: Mode, *, min_side: int = MAX_PIXELS) -> Tensor:
    """Read an image, rotated according to its EXIF orientation and with a white background if it is transparent.

    The decoders of `torchvision.io` are deprecated since torchvision 0.29. Pillow also knows the size of an image
    before it decodes it.

    Args:
        source: a file or its content.
        mode: "gray" for one channel, "rgb" for three.
        min_side: a larger image is averaged over squares of pixels, down to about this number of pixels per side.
            A JPEG is decoded at a half, a quarter or an eighth of its size, which also takes less time. By default no
            image is reduced.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        UserError: the file is not an image, damaged, or too large.
    """
    try:
        if isinstance(source, Path) and not source.is_file():  # reading a pipe or a device may never end
            raise UserError("is not a regular file" if source.exists() else "is missing")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused, or harmless
            return _read(BytesIO(source) if isinstance(source, bytes) else source, mode, min_side)
    except UnidentifiedImageError as error:
        raise UserError(f"is not an image ({', '.join(FORMATS)})") from error
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types for damaged files
        raise UserError(f"cannot be read ({error})") from error


def resize(
    images: Tensor, size: tuple[int, int], interpolation: InterpolationMode = InterpolationMode.BILINEAR
) -> Tensor:
    """Resize images, `[..., H, W]`, to a height and width; those of that size are returned unchanged."""
    resized: Tensor = functional.resize(images, list(size), interpolation, antialias=True)
    return resized


def fit(images: Tensor, side: int, interpolation: InterpolationMode = InterpolationMode.BILINEAR) -> Tensor:
    """Resize images, `[..., H, W]`, so that their longer side has `side` pixels."""
    scale = side / max(images.shape[-2:])
    height, width = (max(1, round(length * scale)) for length in images.shape[-2:])
    return resize(images, (height, width), interpolation)


def shrink(images: Tensor, side: int) -> Tensor:
    """Reduce images, `[..., H, W]`, to at most `side` pixels in height and width."""
    return fit(images, min(side, max(images.shape[-2:])))


def _read(source: Path | BytesIO, mode: Mode, min_side: int) -> Tensor:
    # For other formats Pillow would start programs (EPS: Ghostscript), or use decoders that are rarely audited.
    with Image.open(source, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        image.draft(None, (min_side, min_side))
        image.load()
        if any(len(image.info.get(name, "")) > MAX_EXIF for name in ("exif", "Raw profile type exif")):
            raise UserError(f"has more than {MAX_EXIF:,} bytes of EXIF data")
        factor = max(1, isqrt(image.width * image.height) // min_side)
        ImageOps.exif_transpose(image, in_place=True)
        return to_tensor(image, mode, factor)


def to_tensor(image: Image.Image, mode: Mode, factor: int = 1) -> Tensor:
    """Return an image, reduced by a factor, as uint8 `[C, H, W]`, with a white background if it is transparent.

    Bands of rows are converted one by one: a step on a whole image of 100 megapixels would take 400 MB.
    """
    height = 64 * factor
    bands = (
        _flatten(image.crop((0, top, image.width, min(top + height, image.height))), mode).reduce(factor)
        for top in range(0, image.height, height)
    )
    return torch.cat([functional.pil_to_tensor(band) for band in bands], dim=1)


def _flatten(image: Image.Image, mode: Mode) -> Image.Image:
    """Return an image with 8 bits per channel, without transparency and palette."""
    if image.mode.startswith("I"):  # 16 bits per pixel, of which Pillow would keep the lower eight
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay)
    return image.convert("L" if mode == "gray" else "RGB")
