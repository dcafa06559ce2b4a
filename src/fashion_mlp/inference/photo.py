"""Find the object of a photograph and convert it as the images of Fashion-MNIST were converted.

The background is a smooth surface, fitted to the edge of the photograph in colour. The object is what differs from it
by more than noise and texture do. The steps from there are those of section 2 of the dataset's paper (arXiv
1708.07747): trim to the object, resize its longer side to 28 pixels, centre it, sharpen it, show it light on black. The
paper resizes by skipping rows and columns; antialiasing is used here. `tests/photographs.py` makes photographs of
validation images, on which the constants were chosen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2 import InterpolationMode, functional

from fashion_mlp.runtime.errors import UserError

SIZE = 28
# Weight of the difference to a Gaussian blur of standard deviation 1, which sharpening adds.
SHARPNESS = 0.3
# A background below this grey level counts as black, one above `LIGHT` as white.
DARK = 64
LIGHT = 200
# The longer side of the copy in which the object is searched, in pixels.
WORKING_SIDE = 224
# Width of the edge that shows background, as a fraction of the shorter side.
EDGE = 0.04
# Standard deviation that the background has at least, in grey levels.
NOISE = 3.0
# Smallest distance of an object from the background: in standard deviations, and over Otsu's threshold.
MIN_DISTANCE = 3.5
OTSU_FRACTION = 0.5
# Gap in pixels between parts of one object, and size of a part over that of the largest.
GAP = 4
MIN_PART = 0.1
# Size of an object, and of a photograph within a frame, as a fraction of the photograph.
MIN_OBJECT = 0.002
MIN_FRAMED = 0.7
# Brightness of a shadow over that of the background, how little its colour differs, and its size over the object's.
SHADOW = (0.5, 0.97)
SAME_COLOR = 12
MIN_SHADOW = 0.05
MAX_SHADOW = 0.5
# Mean and standard deviation of the brightness of an object on a background that is neither black nor white, and the
# largest factor by which its contrast is increased.
MEAN_BRIGHTNESS = 135
CONTRAST = 45
MAX_GAIN = 4
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)


class FoundObject(NamedTuple):
    """An object in a reduced photograph.

    Attributes:
        photo: float `[3, H, W]`, 0 to 255.
        background: the photograph without the object, of the same shape.
        mask: where the object is, bool `[H, W]`.
    """

    photo: Tensor
    background: Tensor
    mask: Tensor

    @property
    def box(self) -> tuple[slice, slice]:
        """The rows and columns of the object."""
        rows, columns = (self.mask.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def cutout(self) -> Tensor:
        """Return the object on black, uint8 `[3, h, w]`."""
        rows, columns = self.box
        return (self.photo * self.mask)[:, rows, columns].round().to(torch.uint8)


def to_gray(photo: Tensor) -> Tensor:
    """Return a photograph, uint8 `[3, H, W]`, in grey as Pillow reads it: `[1, H, W]`."""
    gray: Tensor = functional.pil_to_tensor(functional.to_pil_image(photo).convert("L"))
    return gray


def is_in_dataset_form(photo: Tensor) -> bool:
    """Return True for an image, uint8 `[3, H, W]`, that is 28 x 28 and light on black."""
    corners = to_gray(photo)[0, :: photo.shape[1] - 1 or 1, :: photo.shape[2] - 1 or 1]
    return photo.shape[1:] == (SIZE, SIZE) and int(corners.median()) < DARK


def find_object(photo: Tensor) -> FoundObject:
    """Find the object of a photograph, uint8 `[3, H, W]`.

    Raises:
        UserError: nothing stands out from the background, or what does touches all four sides.
    """
    scale = WORKING_SIDE / max(photo.shape[1:])
    size = [max(1, round(side * min(scale, 1))) for side in photo.shape[1:]]
    found = _segment(functional.resize(photo, size, antialias=True).float())
    if found.mask.float().mean() < MIN_OBJECT:
        raise UserError("is refused: no object found: nothing stands out from the background")
    rows, columns = found.box
    box = found.mask[found.box]
    is_inside = not any(side.any() for side in _sides(found.mask))
    if is_inside and box.numel() > MIN_FRAMED * found.mask.numel() and box.float().mean() > 0.98:  # within a frame
        margin = max(1, round(0.02 * min(box.shape)))
        rows = slice(rows.start + margin, rows.stop - margin)
        columns = slice(columns.start + margin, columns.stop - margin)
        framed = _segment(found.photo[:, rows, columns])
        if MIN_OBJECT < framed.mask.float().mean() < 0.9:
            found = framed
    if all(side.any() for side in _sides(found.mask)):
        raise UserError("is refused: no object found: what stands out from the background touches all four sides")
    return _remove_shadow(found)


def _sides(mask: Tensor) -> tuple[Tensor, ...]:
    return mask[0], mask[-1], mask[:, 0], mask[:, -1]


def render(found: FoundObject, angles: Sequence[float] = (0.0,)) -> Tensor:
    """Convert an object to images like those of the dataset.

    Args:
        found: the object.
        angles: rotation of each image, counter-clockwise in degrees.

    Returns:
        uint8 `[len(angles), 1, 28, 28]`, light on black.
    """
    rows, columns = found.box
    light = torch.cat([_brighten(found), found.mask.float().unsqueeze(0)])[:, rows, columns]
    return torch.stack([_place(_rotate(light, angle)) for angle in angles])


def _rotate(light: Tensor, angle: float) -> Tensor:
    """Rotate an object's brightness and mask, float `[2, H, W]`, and trim the brightness: `[1, h, w]`."""
    if angle == 0:
        return light[:1]
    rotated = functional.rotate(light, angle, interpolation=InterpolationMode.BILINEAR, expand=True)
    mask = rotated[1] > 0.5
    rows, columns = (mask.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return rotated[:1, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows else light[:1]


def _place(light: Tensor) -> Tensor:
    """Fit the brightness of a trimmed object into a square of 28 x 28 pixels, centre and sharpen it."""
    scale = SIZE / max(light.shape[1:])
    height, width = (max(1, round(side * scale)) for side in light.shape[1:])
    fitted = functional.resize(light, [height, width], interpolation=InterpolationMode.BICUBIC, antialias=True)
    # An odd pixel of padding is at the top and on the left, as in the dataset.
    top, left = (SIZE - height + 1) // 2, (SIZE - width + 1) // 2
    square = pad(fitted, (left, SIZE - width - left, top, SIZE - height - top))
    blurred = functional.gaussian_blur(square, kernel_size=[5, 5], sigma=[1.0, 1.0])
    sharpened: Tensor = square + SHARPNESS * (square - blurred)
    return sharpened.round().clamp(0, 255).to(torch.uint8)


def _brighten(found: FoundObject) -> Tensor:
    """Return the brightness of an object on black, float `[1, H, W]`.

    On black it is the object's own brightness, on white its darkness, as in the dataset. Elsewhere the object's shades
    are shown around a fixed mean, negated if it is darker than the background rather than of another colour.
    """
    photo, background, mask = found
    gray, level = ((image * LUMA).sum(0, keepdim=True) for image in (photo, background))
    difference = (photo - background)[:, mask].mean(1)
    darkness = float(-(difference * LUMA.flatten()).sum())
    is_dark = darkness > float((difference - difference.mean()).norm())
    typical = float(level[:, mask].median())
    if is_dark and typical > LIGHT:
        light = 255 * (1 - gray / level.clamp(min=1))
    elif darkness < 0 and typical < DARK:
        light = 255 * (gray - level) / (255 - level).clamp(min=1)
    else:
        shades = gray - gray[:, mask].mean()
        gain = min(MAX_GAIN, CONTRAST / max(1.0, float(shades[:, mask].std(correction=0))))
        light = (MEAN_BRIGHTNESS + (-gain if is_dark else gain) * shades).clamp(min=20)
    opacity = functional.gaussian_blur(mask.float().unsqueeze(0), kernel_size=[3, 3], sigma=[0.7, 0.7])
    masked: Tensor = light.clamp(0, 255) * opacity
    return masked


def _segment(photo: Tensor) -> FoundObject:
    """Separate the largest object of a photograph, float `[3, H, W]`, from the background; the mask may be empty."""
    from scipy import ndimage  # takes 0.3 s

    background, residuals = _fit_background(photo)
    # A Mahalanobis distance: the more a direction in colour varies in the background, the less it counts.
    covariance = residuals.T @ residuals / len(residuals) + NOISE**2 * torch.eye(3)
    whitening = torch.linalg.cholesky(torch.linalg.inv(covariance))
    smoothed = ndimage.gaussian_filter((photo - background).numpy(), (0, 1, 1))
    distance = (torch.from_numpy(smoothed).permute(1, 2, 0) @ whitening).norm(dim=2).numpy()
    mask = distance > max(MIN_DISTANCE, OTSU_FRACTION * _otsu_threshold(distance))
    return FoundObject(photo, background, _keep_largest(mask))


def _remove_shadow(found: FoundObject) -> FoundObject:
    """Remove pixels that are only darker than the background, unless they are most of the object."""
    from scipy import ndimage

    photo, background, mask = found
    brightness = (photo * background).sum(0) / (background**2).sum(0).clamp(min=1)
    is_same_color = (photo - brightness * background).norm(dim=0) < SAME_COLOR
    shadow = mask & is_same_color & (brightness > SHADOW[0]) & (brightness < SHADOW[1])
    if not MIN_SHADOW < float(shadow.sum() / mask.sum()) < MAX_SHADOW:
        return found
    opened = ndimage.binary_opening((mask & ~shadow).numpy(), np.ones((3, 3)))  # removes the rim of the shadow
    return found._replace(mask=_keep_largest(opened)) if opened.any() else found


def _keep_largest(mask: np.ndarray) -> Tensor:
    """Return a mask, bool `[H, W]`, with its largest parts, without holes."""
    from scipy import ndimage

    parts = ndimage.label(ndimage.maximum_filter(mask, GAP + 1), np.ones((3, 3)))[0] * mask
    sizes = np.bincount(parts.flatten())
    sizes[0] = 0
    kept = (sizes >= max(1, MIN_PART * sizes.max()))[parts]
    return torch.from_numpy(ndimage.binary_fill_holes(kept))


def _fit_background(photo: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a quadratic surface to each channel at the edge of a photograph, without the pixels of an object there.

    Returns:
        The surface, float `[3, H, W]`, and the residuals of the background pixels, `[N, 3]`.
    """
    height, width = photo.shape[1:]
    margin = max(1, round(EDGE * min(height, width)))
    is_edge = torch.ones(height, width, dtype=torch.bool)
    is_edge[margin:-margin, margin:-margin] = False
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    terms = (torch.ones_like(rows), rows, columns, rows * columns, rows**2, columns**2)
    basis = torch.stack(terms, dim=2)
    inputs, targets = basis[is_edge], photo.permute(1, 2, 0)[is_edge]
    residuals = targets - targets.median(0).values
    for _ in range(5):
        distances = residuals.norm(dim=1)
        is_background = distances <= max(2.5 * float(distances.median()), 4)
        # A ridge, since small photographs have fewer pixels than terms.
        x, y = inputs[is_background], targets[is_background]
        coefficients = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(len(terms)), x.T @ y)
        residuals = targets - inputs @ coefficients
    return (basis @ coefficients).permute(2, 0, 1), residuals[is_background]


def _otsu_threshold(values: np.ndarray) -> float:
    """Return the threshold that separates values into two groups of the smallest variance (Otsu, 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centers = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum(), counts.sum()
    sums = (counts * centers).cumsum()
    between = (sums[-1] * below / total - sums) ** 2 / np.maximum(below * (total - below), 1)
    return float(centers[between.argmax()])
