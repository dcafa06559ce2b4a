"""Image files of any kind to uint8 tensors of one kind."""

import warnings
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional

from fashion_mlp.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
MAX_PIXELS = 64_000_000
"""A larger picture is refused before it is decoded: a small file can hold a huge one. This many take up to 1.2 GiB."""

Mode = Literal["gray", "rgb"]


def mode_of(channels: int) -> Mode:
    """Return the mode that gives pictures of one channel, or of three."""
    return "gray" if channels == 1 else "rgb"


def read_picture(source: Path | bytes, mode: Mode, *, enough: int | None = None) -> Tensor:
    """Read one picture, turned as its EXIF entry says and laid on white where it is transparent.

    Pillow and not `torchvision.io`, whose decoders are deprecated since torchvision 0.29; its header is read, and its
    size known, before anything is decoded.

    Args:
        source: a file, or its content.
        mode: one channel or three.
        enough: pixels a side that will do. A larger picture is averaged over squares of pixels, down to about this
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
            return _read(BytesIO(source) if isinstance(source, bytes) else source, mode, enough)
    except UnidentifiedImageError as error:
        raise UserError(f"is no picture ({', '.join(FORMATS)})") from error
    except UserError:
        raise
    except Exception as error:  # on a damaged file, Pillow's decoders fail in many ways
        raise UserError(f"cannot be read ({error})") from error


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a picture, uint8 `[C, H, W]`, to a height and width; one of that size stays as it is."""
    if tuple(picture.shape[1:]) == size:
        return picture
    resized: Tensor = functional.resize(picture, list(size), antialias=True)
    return resized


def _read(source: Path | BytesIO, mode: Mode, enough: int | None) -> Tensor:
    # Named, since Pillow would hand others to programs (EPS to Ghostscript) or to decoders that few have looked at.
    with Image.open(source, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        if enough is not None:
            image.draft(None, (enough, enough))
        factor = max(1, isqrt(image.width * image.height) // enough) if enough is not None else 1
        ImageOps.exif_transpose(image, in_place=True)
        return _to_tensor(image, mode, factor)


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
