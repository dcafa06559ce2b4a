"""A classifier that takes photographs: it reads an image from any source, converts it, and classifies its views."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from fashion_mlp.classifier import Classifier, Predictions
from fashion_mlp.data import find_data_module
from fashion_mlp.data.image_io import Mode, fit, mode_of, read_image, resize, to_tensor
from fashion_mlp.inference.photo.novelty import is_novel
from fashion_mlp.inference.photo.rendering import find_upright_angle, is_in_dataset_form, render, to_gray
from fashion_mlp.inference.photo.segmentation import find_object
from fashion_mlp.runtime.errors import UserError

# Side in pixels down to which a large photograph may be reduced while it is decoded.
MIN_PHOTO_SIDE = 448
# Rotations of an upright object, in degrees, over which the probabilities are averaged.
ANGLES = (-6.0, -3.0, 0.0, 3.0, 6.0)
# Side in pixels of the squares that show the steps of a conversion.
STEP_SIDE = 168

ImageSource = str | Path | bytes | Image.Image | NDArray[Any] | Tensor


class PhotoPrediction(NamedTuple):
    """The prediction for a photograph.

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

    def steps(self) -> list[Tensor]:
        """Return photo, object and image, each in the middle of a black square in colour, uint8 `[3, side, side]`."""
        return [_fit_square(step) for step in (self.photo, self.found, self.image)]


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
    dtype = str(getattr(source, "dtype", type(source).__name__)).removeprefix("torch.")
    if dtype != "uint8":
        raise UserError(f"has the type {dtype}. Expected uint8 from 0 to 255, such as (255 * image).astype(uint8)")
    shape = list(source.shape)
    channels = 1 if len(shape) == 2 else shape[0] if isinstance(source, Tensor) else shape[-1]
    if len(shape) not in (2, 3) or 0 in shape or channels not in (1, 3, 4):
        raise UserError(f"has the shape {shape}. Expected a grey or colour image")
    return to_tensor(functional.to_pil_image(source), mode)


class PhotoClassifier(Classifier):
    """A classifier from a checkpoint, which also takes photographs, since the checkpoint describes the training data.

    If these are light on black, as Fashion-MNIST, a photograph is set upright and converted as the images of that
    dataset were, and the probabilities are averaged over `ANGLES`. Its mirror image is used if that gives a more
    confident prediction of a class that always points left in the dataset. For custom images, a photograph is only
    resized, as these were.
    """

    @torch.inference_mode()
    def predict(self, images: Any) -> Predictions:
        """Classify images in evaluation mode, without gradients.

        Args:
            images: a batch, uint8 `[N, C, H, W]`, in the form of the training images, which is classified as it is; or
                a photograph or a list of them, which are converted as by `fashion-mlp predict`: paths, Pillow's images,
                arrays, uint8 `[H, W]` or `[H, W, C]`, or tensors, uint8 `[H, W]` or `[C, H, W]`.

        Raises:
            UserError: an image has another type or shape, cannot be read, or shows no object.
        """
        if isinstance(images, Tensor) and images.ndim == 4:
            return super().predict(images)
        photos = images if isinstance(images, list | tuple) else [images]
        probabilities = torch.empty(len(photos), len(self.class_names))
        for index, photo in enumerate(photos):
            try:
                probabilities[index] = self.predict_photo(photo).probabilities
            except UserError as error:
                raise UserError(f"image {index} {error}") from error
        return self.name_classes(probabilities)

    @torch.inference_mode()
    def predict_photo(self, source: ImageSource) -> PhotoPrediction:
        """Classify a photograph as `predict` does, and return how it was converted too.

        Raises:
            UserError: the image cannot be read, or no object is found in it.
        """
        channels, height, width = self.metadata["model"]["image_shape"]
        data = find_data_module(self.metadata["data"]["option"])
        if not data.is_light_on_black:
            photo = read_photo(source, mode_of(channels))
            return self._predict_unconverted(photo, resize(photo, (height, width)))
        photo = read_photo(source, "rgb")
        if is_in_dataset_form(photo):
            prediction = self._predict_unconverted(photo, to_gray(photo))
        else:
            prediction = self._predict_converted(photo, data.left_facing)
        novelty = self.metadata.get("novelty")
        return prediction._replace(is_novel=novelty is not None and is_novel(prediction.image, novelty))

    def _predict_unconverted(self, photo: Tensor, image: Tensor) -> PhotoPrediction:
        return PhotoPrediction(self.predict_probabilities(image.unsqueeze(0))[0], photo, photo, image)

    def _predict_converted(self, photo: Tensor, left_facing: Sequence[str]) -> PhotoPrediction:
        """Convert a photograph, uint8 `[3, H, W]`, and average the probabilities over its views or their mirror images.

        Args:
            photo: uint8 `[3, H, W]`.
            left_facing: the names of the classes whose objects point left in the dataset.
        """
        found = find_object(photo)
        upright = find_upright_angle(found.mask)
        views = render(found, [upright + angle for angle in ANGLES])
        probabilities, mirrored = (self.predict_probabilities(images).mean(0) for images in (views, views.flip(-1)))
        image = views[len(views) // 2]
        if mirrored.max() > probabilities.max() and self.class_names[int(mirrored.argmax())] in left_facing:
            return PhotoPrediction(mirrored, photo, found.cutout(), image.flip(-1), is_mirrored=True)
        return PhotoPrediction(probabilities, photo, found.cutout(), image)


def _fit_square(image: Tensor) -> Tensor:
    is_enlarged = max(image.shape[1:]) < STEP_SIDE
    interpolation = InterpolationMode.NEAREST if is_enlarged else InterpolationMode.BILINEAR
    squared: Tensor = functional.center_crop(fit(image.expand(3, -1, -1), STEP_SIDE, interpolation), [STEP_SIDE])
    return squared
