"""A photograph turned into a picture as Fashion-MNIST has them.

The steps are those of section 2 of the dataset's paper (arXiv 1708.07747): trim the edges whose colour is near that of
the corners, bring the longer side to 28 pixels, centre on a square, sharpen, light on black, grey. The paper resizes by
skipping rows and columns; here pixels are averaged, which also serves photographs of thousands of pixels. How much to
sharpen after that was chosen on validation images, enlarged in several ways and brought back.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2 import InterpolationMode, functional

SIZE = 28
# How far a pixel may be from the corners' colour and still be background, as part of the largest intensity.
NEAR = 0.05
# How much of the difference to a Gaussian blur, of standard deviation 1, sharpening adds.
SHARPNESS = 0.3
# Background below this grey level is black enough to be left as it is.
DARK = 64


def as_fashion_mnist(photograph: Tensor) -> Tensor:
    """Convert a photograph; a picture that is 28 x 28 and light on black already comes back as it is.

    Args:
        photograph: uint8 `[1, H, W]`.

    Returns:
        uint8 `[1, 28, 28]`, light on black.
    """
    background = _background(photograph)
    is_dark = background < DARK
    if is_dark and photograph.shape[1:] == (SIZE, SIZE):
        return photograph
    # Light on black first, and the background truly black, so that the margins that are added do not show.
    light = photograph.float() - background if is_dark else background - photograph.float()
    light = light.clamp(min=0) * (255 / max(255 - background, 1) if is_dark else 255 / max(background, 1))
    trimmed = _trim(light)
    height, width = trimmed.shape[1:]
    scale = SIZE / max(height, width)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    fitted = functional.resize(trimmed, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
    # An odd pixel goes to the top and the left, as it does in the dataset.
    top, left = (SIZE - size[0] + 1) // 2, (SIZE - size[1] + 1) // 2
    squared = pad(fitted, (left, SIZE - size[1] - left, top, SIZE - size[0] - top))
    blurred = functional.gaussian_blur(squared, kernel_size=[5, 5], sigma=[1.0, 1.0])
    sharpened: Tensor = squared + SHARPNESS * (squared - blurred)
    return sharpened.round().clamp(0, 255).to(torch.uint8)


def _background(photograph: Tensor) -> float:
    """Return the median grey level of the corners, each a small square, so that a speck does not decide."""
    side = max(1, min(photograph.shape[1:]) // 50)
    rows = torch.cat([photograph[0, :side], photograph[0, -side:]])
    return float(torch.cat([rows[:, :side], rows[:, -side:]]).float().median())


def _trim(light: Tensor) -> Tensor:
    """Cut away the edges that hold nothing but background.

    A square that its object fills, in the middle, stays whole: it is composed already, and trimming what an enlargement
    has blurred would move it by a fraction of a pixel. So does a picture of nothing.
    """
    is_object = light[0] > NEAR * 255
    if not is_object.any():
        return light
    height, width = is_object.shape
    (top, bottom), (left, right) = (
        (int(inside[0]), int(inside[-1]) + 1) for inside in (is_object.any(axis).nonzero() for axis in (1, 0))
    )
    pixel = height / SIZE
    fills = max(bottom - top, right - left) >= height - pixel
    is_centred = abs(top - (height - bottom)) <= 2 * pixel and abs(left - (width - right)) <= 2 * pixel
    if height == width and fills and is_centred:
        return light
    return light[:, top:bottom, left:right]
