"""Image files as input of a classifier."""

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from torch import Tensor

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.image_io import is_image_name, mode_of, read_image, resize, warn_of_skipped
from fashion_mlp.data.registry import find_data_module
from fashion_mlp.inference.photo import as_fashion_mnist
from fashion_mlp.runtime.errors import UserError

# Side in pixels down to which a large photograph may be reduced while it is decoded.
MIN_PHOTO_SIDE = 1024


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


def load_image(source: Path | bytes, classifier: Classifier) -> Tensor:
    """Load an image in the form of the images that a classifier was trained on.

    If the data are light on black, as Fashion-MNIST, a photograph is converted as the images of that dataset were. For
    a classifier of custom images it is only resized, as these were.

    Args:
        source: an image file, or its content.
        classifier: its metadata describe the data and the shape of an image.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        UserError: the image cannot be read.
    """
    channels, height, width = classifier.metadata["model"]["image_shape"]
    if find_data_module(classifier.metadata["data"]["option"]).is_light_on_black:
        return as_fashion_mnist(read_image(source, mode_of(channels), min_side=MIN_PHOTO_SIDE))
    return resize(read_image(source, mode_of(channels)), (height, width))
