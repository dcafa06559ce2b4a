"""Image files as input of a classifier."""

from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.image_io import Mode, is_image_name, mode_of, read_image, resize, to_tensor, warn_of_skipped
from fashion_mlp.data.registry import find_data_module
from fashion_mlp.inference.photo import is_in_dataset_form, render, to_gray
from fashion_mlp.inference.segmentation import find_object
from fashion_mlp.runtime.errors import UserError

# Side in pixels down to which a large photograph may be reduced while it is decoded.
MIN_PHOTO_SIDE = 448
# Rotations of a converted photograph, in degrees, over which the probabilities are averaged.
ANGLES = (-6.0, -3.0, 0.0, 3.0, 6.0)

ImageSource = str | Path | bytes | Image.Image | NDArray[Any] | Tensor


class Answer(NamedTuple):
    """The answer for one image.

    Attributes:
        probabilities: of all classes, float `[num_classes]`.
        photo: the image as it was read, uint8 `[C, H, W]`.
        found: the object on black, uint8 `[C, h, w]`; the photo itself if it was not converted.
        image: the image as the model saw it, uint8 `[C, H, W]`.
        is_mirrored: whether that is the mirror image.
    """

    probabilities: Tensor
    photo: Tensor
    found: Tensor
    image: Tensor
    is_mirrored: bool


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


def read_photo(source: ImageSource, mode: Mode) -> Tensor:
    """Return an image as uint8 `[C, H, W]`; a large one of a file is reduced.

    Args:
        source: a file, its content, an image of Pillow, an array, uint8 `[H, W]` or `[H, W, C]`, or a tensor, uint8
            `[H, W]` or `[C, H, W]`.
        mode: "gray" for one channel, "rgb" for three.

    Raises:
        UserError: the image cannot be read, or has another type or shape.
    """
    if isinstance(source, str | Path | bytes):
        return read_image(Path(source) if isinstance(source, str) else source, mode, min_side=MIN_PHOTO_SIDE)
    if isinstance(source, Image.Image):
        return to_tensor(ImageOps.exif_transpose(source), mode)
    if isinstance(source, Tensor):
        source = source.cpu()
        array = source.movedim(0, -1).numpy() if source.ndim == 3 else source.numpy()
    else:
        array = np.asarray(source)
    if array.dtype != np.uint8:
        raise UserError(
            f"has the type {array.dtype}. Expected uint8 from 0 to 255, such as (255 * image).astype(uint8)"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise UserError(f"has the shape {list(source.shape)}. Expected a grey or colour image")
    return to_tensor(Image.fromarray(array), mode)


@torch.inference_mode()
def classify(source: ImageSource, classifier: Classifier) -> Answer:
    """Classify one image as `fashion-mlp predict`, the page and `Classifier.predict` do.

    If the data are light on black, as Fashion-MNIST, a photograph is converted as the images of that dataset were, and
    the probabilities are averaged over `ANGLES`. Its mirror image is used if that gives a more confident answer of a
    class that always points left in the dataset. For a classifier of custom images it is only resized, as these were.

    Args:
        source: as for `read_photo`.
        classifier: its metadata describe the data and the shape of an image.

    Raises:
        UserError: the image cannot be read, or no object is found in it.
    """
    channels, height, width = classifier.metadata["model"]["image_shape"]
    data = find_data_module(classifier.metadata["data"]["option"])
    if data.is_light_on_black:
        photo = read_photo(source, "rgb")
        if not is_in_dataset_form(photo):
            found = find_object(photo)
            return _classify_views(render(found, ANGLES), photo, found.cutout(), classifier, data.left_facing)
        image = to_gray(photo)
    else:
        photo = read_photo(source, mode_of(channels))
        image = resize(photo, (height, width))
    probabilities = classifier.predict(image.unsqueeze(0)).probabilities[0]
    return Answer(probabilities, photo, photo, image, is_mirrored=False)


def _classify_views(
    views: Tensor, photo: Tensor, found: Tensor, classifier: Classifier, left_facing: Sequence[str]
) -> Answer:
    """Average the probabilities over views of a converted photograph; prefer the mirror images if they suggest so."""
    probabilities, mirrored = (classifier.predict(side).probabilities.mean(0) for side in (views, views.flip(-1)))
    is_mirrored = bool(mirrored.max() > probabilities.max()) and (
        classifier.class_names[int(mirrored.argmax())] in left_facing
    )
    image = views[len(views) // 2]
    if is_mirrored:
        return Answer(mirrored, photo, found, image.flip(-1), is_mirrored=True)
    return Answer(probabilities, photo, found, image, is_mirrored=False)


def fit_square(image: Tensor, side: int = 168) -> Tensor:
    """Return an image, uint8 `[C, H, W]`, in the middle of a black square in colour, uint8 `[3, side, side]`."""
    scale = side / max(image.shape[1:])
    size = [max(1, round(length * scale)) for length in image.shape[1:]]
    interpolation = InterpolationMode.NEAREST if scale > 1 else InterpolationMode.BILINEAR
    resized = functional.resize(image.expand(3, -1, -1), size, interpolation=interpolation, antialias=True)
    squared: Tensor = functional.center_crop(resized, [side, side])
    return squared
