"""Photographs as input of a classifier: read an image from any source, convert it, and classify its views."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from fashion_mlp.data import find_data_module
from fashion_mlp.data.image_io import Mode, mode_of, read_image, resize, to_tensor
from fashion_mlp.inference.photo.novelty import is_novel
from fashion_mlp.inference.photo.rendering import find_upright_angle, is_in_dataset_form, render, to_gray
from fashion_mlp.inference.photo.segmentation import find_object
from fashion_mlp.runtime.errors import UserError

# Side in pixels down to which a large photograph may be reduced while it is decoded.
MIN_PHOTO_SIDE = 448
# Rotations of an upright object, in degrees, over which the probabilities are averaged.
ANGLES = (-6.0, -3.0, 0.0, 3.0, 6.0)

ImageSource = str | Path | bytes | Image.Image | NDArray[Any] | Tensor


class Predictions(NamedTuple):
    """The names of the predicted classes, `[N]`, and the probabilities of all classes, float `[N, num_classes]`."""

    names: list[str]
    probabilities: Tensor


class Prediction(NamedTuple):
    """The prediction for one image.

    Attributes:
        probabilities: the probabilities of all classes, float `[num_classes]`.
        photo: the image as it was read, uint8 `[C, H, W]`.
        found: the object on black, uint8 `[C, h, w]`; the photo itself if it was not converted.
        image: the image as the model saw it, uint8 `[C, H, W]`.
        is_mirrored: whether that is the mirror image.
        is_novel: whether it is unlike all training images, so that the prediction is of little value; always False
            without a description of them.
    """

    probabilities: Tensor
    photo: Tensor
    found: Tensor
    image: Tensor
    is_mirrored: bool = False
    is_novel: bool = False


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


def classify(source: ImageSource, predict: Callable[[Tensor], Tensor], metadata: Mapping[str, Any]) -> Prediction:
    """Classify one image.

    If the data are light on black, as Fashion-MNIST, a photograph is set upright and converted as the images of that
    dataset were, and the probabilities are averaged over `ANGLES`. Its mirror image is used if that gives a more
    confident prediction of a class that always points left in the dataset. If the data are custom images, it is only
    resized, as these were.

    Args:
        source: as for `read_photo`.
        predict: returns the probabilities, float `[N, num_classes]`, of images, uint8 `[N, C, H, W]`.
        metadata: the metadata of the classifier.

    Raises:
        UserError: the image cannot be read, or no object is found in it.
    """
    channels, height, width = metadata["model"]["image_shape"]
    data = find_data_module(metadata["data"]["option"])
    if not data.is_light_on_black:
        photo = read_photo(source, mode_of(channels))
        image = resize(photo, (height, width))
        return Prediction(predict(image.unsqueeze(0))[0], photo, photo, image)
    photo = read_photo(source, "rgb")
    if is_in_dataset_form(photo):
        image = to_gray(photo)
        prediction = Prediction(predict(image.unsqueeze(0))[0], photo, photo, image)
    else:
        left_facing = [name in data.left_facing for name in metadata["class_names"]]
        prediction = _classify_views(photo, predict, left_facing)
    novelty = metadata.get("novelty")
    return prediction._replace(is_novel=novelty is not None and is_novel(prediction.image, novelty))


def _classify_views(photo: Tensor, predict: Callable[[Tensor], Tensor], left_facing: Sequence[bool]) -> Prediction:
    """Convert a photograph and average the probabilities over its views, or over their mirror images.

    Args:
        photo: uint8 `[3, H, W]`.
        predict: as for `classify`.
        left_facing: whether the objects of each class point left in the dataset.
    """
    found = find_object(photo)
    upright = find_upright_angle(found.mask)
    views = render(found, [upright + angle for angle in ANGLES])
    probabilities, mirrored = predict(views).mean(0), predict(views.flip(-1)).mean(0)
    image = views[len(views) // 2]
    if mirrored.max() > probabilities.max() and left_facing[int(mirrored.argmax())]:
        return Prediction(mirrored, photo, found.cutout(), image.flip(-1), is_mirrored=True)
    return Prediction(probabilities, photo, found.cutout(), image)
