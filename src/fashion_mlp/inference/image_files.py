"""Image files on the command line, and images in figures of predictions."""

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from fashion_mlp.data.image_io import is_image_name, warn_of_skipped
from fashion_mlp.runtime.errors import UserError


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
                files = _images_in(path)
            else:
                files = [path] if path.is_file() else sorted(map(Path, glob(pattern, recursive=True)))  # noqa: PTH207
        except OSError as error:
            raise UserError(f"{pattern}: cannot be read ({error.strerror})") from error
        if not files:
            raise UserError(f"{pattern}: no such image. Expected image files, directories with images, or globs")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _images_in(directory: Path) -> list[Path]:
    entries = sorted(directory.iterdir())
    images = [path for path in entries if is_image_name(path.name) and not path.is_dir()]
    warn_of_skipped(directory, len(entries) - len(images))
    return images


def fit_square(image: Tensor, side: int = 168) -> Tensor:
    """Return an image, uint8 `[C, H, W]`, in the middle of a black square in colour, uint8 `[3, side, side]`."""
    scale = side / max(image.shape[1:])
    size = [max(1, round(length * scale)) for length in image.shape[1:]]
    interpolation = InterpolationMode.NEAREST if scale > 1 else InterpolationMode.BILINEAR
    resized = functional.resize(image.expand(3, -1, -1), size, interpolation=interpolation, antialias=True)
    squared: Tensor = functional.center_crop(resized, [side, side])
    return squared
