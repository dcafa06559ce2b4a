"""Convert a photograph as the images of Fashion-MNIST were converted.

The steps are those of section 2 of the dataset's paper (arXiv 1708.07747): trim edges of the background colour, resize
the longer side to 28 pixels, centre on a square, sharpen, make the object light on black, convert to grey. The paper
resizes by skipping rows and columns; antialiasing is used here, which suits photographs of thousands of pixels. The
sharpness was then chosen on validation images that were enlarged in several ways and converted back.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2 import InterpolationMode, functional

SIZE = 28
# Maximum difference between a background pixel and the corners, as a fraction of the largest intensity.
BACKGROUND_TOLERANCE = 0.05
# Weight of the difference to a Gaussian blur of standard deviation 1, which sharpening adds.
SHARPNESS = 0.3
# A background below this grey level counts as black.
DARK = 64


def as_fashion_mnist(photo: Tensor) -> Tensor:
    """Convert a photograph; return an image that is 28 x 28 and light on black unchanged.

    Args:
        photo: uint8 `[1, H, W]`.

    Returns:
        uint8 `[1, 28, 28]`, light on black.
    """
    background = _background(photo)
    is_dark = background < DARK
    if is_dark and photo.shape[1:] == (SIZE, SIZE):
        return photo
    # The background becomes 0, as the padding below, so that no border shows.
    light = photo.float() - background if is_dark else background - photo.float()
    light = light.clamp(min=0) * (255 / max(255 - background if is_dark else background, 1))
    trimmed = _trim(light)
    scale = SIZE / max(trimmed.shape[1:])
    height, width = (max(1, round(side * scale)) for side in trimmed.shape[1:])
    fitted = functional.resize(trimmed, [height, width], interpolation=InterpolationMode.BICUBIC, antialias=True)
    # An odd pixel of padding is at the top and on the left, as in the dataset.
    top, left = (SIZE - height + 1) // 2, (SIZE - width + 1) // 2
    square = pad(fitted, (left, SIZE - width - left, top, SIZE - height - top))
    blurred = functional.gaussian_blur(square, kernel_size=[5, 5], sigma=[1.0, 1.0])
    sharpened: Tensor = square + SHARPNESS * (square - blurred)
    return sharpened.round().clamp(0, 255).to(torch.uint8)


def _background(photo: Tensor) -> float:
    """Return the median grey level of four small squares in the corners, which ignores a speck."""
    side = max(1, min(photo.shape[1:]) // 50)
    rows = torch.cat([photo[0, :side], photo[0, -side:]])
    return float(torch.cat([rows[:, :side], rows[:, -side:]]).float().median())


def _trim(light: Tensor) -> Tensor:
    """Remove the edges that contain only background.

    An empty image is not trimmed. Neither is a square that its object fills and is centred in: it is an enlarged image
    of the dataset, and trimming its blurred edges would shift the object by a fraction of a pixel.
    """
    is_object = light[0] > BACKGROUND_TOLERANCE * 255
    if not is_object.any():
        return light
    height, width = is_object.shape
    rows, columns = (is_object.any(axis).nonzero().flatten() for axis in (1, 0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    pixel = height / SIZE
    is_filled = max(bottom - top, right - left) >= height - pixel
    is_centred = abs(top - (height - bottom)) <= 2 * pixel and abs(left - (width - right)) <= 2 * pixel
    if height == width and is_filled and is_centred:
        return light
    return light[:, top:bottom, left:right]
