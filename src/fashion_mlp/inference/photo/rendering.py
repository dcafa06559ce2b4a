"""Convert the object of a photograph as the images of Fashion-MNIST were converted.

The steps are those of section 2 of the dataset's paper (arXiv 1708.07747): trim to the object, resize its longer side
to 28 pixels, centre it, sharpen it, show it light on black. The paper resizes by skipping rows and columns;
antialiasing is used here. `tests/photographs.py` makes photographs of validation images, on which the constants were
chosen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2 import InterpolationMode, functional

from fashion_mlp.data.image_io import fit, to_tensor
from fashion_mlp.inference.photo.segmentation import LUMA, FoundObject, bounding_box

SIZE = 28
# Weight of the difference to a Gaussian blur of standard deviation 1, which sharpening adds.
SHARPNESS = 0.3
# A background below this grey level counts as black, one above `LIGHT` as white.
DARK = 64
LIGHT = 200
# Mean and standard deviation of the brightness of an object on a background that is neither black nor white, and the
# largest factor by which its contrast is increased.
MEAN_BRIGHTNESS = 135
CONTRAST = 45
MAX_GAIN = 4
# Angles in degrees among which an object is set upright, and how much larger its bounding box may be for each degree
# less.
TILTS = torch.arange(-12.0, 13.0)
TILT_PENALTY = 0.01


def to_gray(photo: Tensor) -> Tensor:
    """Return a photograph, uint8 `[3, H, W]`, in grey as Pillow reads it: `[1, H, W]`."""
    return to_tensor(functional.to_pil_image(photo), "gray")


def is_in_dataset_form(photo: Tensor) -> bool:
    """Return True for an image, uint8 `[3, H, W]`, that is 28 x 28 and light on black."""
    corners = to_gray(photo)[0, :: photo.shape[1] - 1 or 1, :: photo.shape[2] - 1 or 1]
    return photo.shape[1:] == (SIZE, SIZE) and int(corners.median()) < DARK


def render(found: FoundObject, angles: Sequence[float] = (0.0,)) -> Tensor:
    """Convert an object to images like those of the dataset.

    Args:
        found: the object.
        angles: rotation of each image, counter-clockwise in degrees.

    Returns:
        uint8 `[len(angles), 1, 28, 28]`, light on black.
    """
    rows, columns = bounding_box(found.mask)
    light = torch.cat([_brighten(found), found.mask.float().unsqueeze(0)])[:, rows, columns]
    return torch.stack([_place(_rotate(light, angle)) for angle in angles])


def find_upright_angle(mask: Tensor) -> float:
    """Return the angle, counter-clockwise in degrees, by which a tilted object has to be rotated.

    The bounding box of a garment is smallest if it is upright.

    Args:
        mask: where the object is, bool `[H, W]`, not empty.
    """
    rows, columns = mask.nonzero().float().T.unsqueeze(2)
    cos, sin = TILTS.deg2rad().cos(), TILTS.deg2rad().sin()
    rotated = torch.stack([columns * cos + rows * sin, rows * cos - columns * sin])
    areas = (rotated.amax(1) - rotated.amin(1) + 1).prod(0)
    return float(TILTS[(areas * (1 + TILT_PENALTY * TILTS.abs())).argmin()])


def _rotate(light: Tensor, angle: float) -> Tensor:
    """Rotate an object's brightness and mask, float `[2, H, W]`, and trim the brightness: `[1, h, w]`."""
    if angle == 0:
        return light[:1]
    rotated: Tensor = functional.rotate(light, angle, interpolation=InterpolationMode.BILINEAR, expand=True)
    mask = rotated[1] > 0.5
    if not mask.any():
        return light[:1]
    rows, columns = bounding_box(mask)
    return rotated[:1, rows, columns]


def _place(light: Tensor) -> Tensor:
    """Fit the brightness of a trimmed object into a square of 28 x 28 pixels, centre and sharpen it."""
    fitted = fit(light, SIZE, InterpolationMode.BICUBIC)
    height, width = fitted.shape[1:]
    # An odd pixel of padding is at the top and on the left, as in the dataset.
    top, left = (SIZE - height + 1) // 2, (SIZE - width + 1) // 2
    square = pad(fitted, (left, SIZE - width - left, top, SIZE - height - top))
    blurred: Tensor = functional.gaussian_blur(square, kernel_size=[5, 5], sigma=[1.0, 1.0])
    sharpened = square + SHARPNESS * (square - blurred)
    return sharpened.round().clamp(0, 255).to(torch.uint8)


def _brighten(found: FoundObject) -> Tensor:
    """Return the brightness of an object on black, float `[1, H, W]`.

    On black it is the object's own brightness, on white its darkness, as in the dataset. Elsewhere the object's shades
    are shown around a fixed mean, negated if it is darker than the background rather than of another colour.
    """
    photo, background, mask = found
    gray, level = ((image * LUMA).sum(0, keepdim=True) for image in (photo, background))
    typical = float(level[:, mask].median())
    if found.is_dark and typical > LIGHT:
        light = 255 * (1 - gray / level.clamp(min=1))
    elif typical < DARK and gray[:, mask].mean() > level[:, mask].mean():
        light = 255 * (gray - level) / (255 - level).clamp(min=1)
    else:
        shades = gray - gray[:, mask].mean()
        gain = min(MAX_GAIN, CONTRAST / max(1.0, float(shades[:, mask].std(correction=0))))
        light = (MEAN_BRIGHTNESS + (-gain if found.is_dark else gain) * shades).clamp(min=20)
    opacity: Tensor = functional.gaussian_blur(mask.float().unsqueeze(0), kernel_size=[3, 3], sigma=[0.7, 0.7])
    return light.clamp(0, 255) * opacity
