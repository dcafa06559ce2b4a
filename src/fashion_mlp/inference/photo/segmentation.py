"""Find the object of a photograph.

The background is a smooth surface, fitted to the edge of the photograph in colour. The object is what differs from it
by more than noise and texture do. `tests/photographs.py` makes photographs of validation images, on which the constants
were chosen.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fashion_mlp.data.image_io import shrink
from fashion_mlp.runtime.errors import UserError

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
# Weights of red, green and blue in grey, as in Pillow.
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

    def cutout(self) -> Tensor:
        """Return the object on black, uint8 `[3, h, w]`."""
        rows, columns = bounding_box(self.mask)
        return (self.photo * self.mask)[:, rows, columns].round().to(torch.uint8)

    @property
    def is_dark(self) -> bool:
        """True if the object is darker than the background, more than it is of another colour."""
        difference = (self.photo - self.background)[:, self.mask].mean(1)
        darkness = -(difference * LUMA.flatten()).sum()
        return bool(darkness > (difference - difference.mean()).norm())


def bounding_box(mask: Tensor) -> tuple[slice, slice]:
    """Return the rows and columns of the pixels in a mask, bool `[H, W]`, which is not empty."""
    rows, columns = (mask.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def find_object(photo: Tensor) -> FoundObject:
    """Find the object of a photograph, uint8 `[3, H, W]`.

    Raises:
        UserError: nothing stands out from the background, or what does touches all four sides.
    """
    found = _segment(shrink(photo, WORKING_SIDE).float())
    if found.mask.float().mean() < MIN_OBJECT:
        raise UserError("is refused: no object found: nothing stands out from the background")
    rows, columns = bounding_box(found.mask)
    box = found.mask[rows, columns]
    is_inside = not any(side.any() for side in _sides(found.mask))
    if is_inside and box.numel() > MIN_FRAMED * found.mask.numel() and box.float().mean() > 0.98:  # within a frame
        margin = max(1, round(0.02 * min(box.shape)))
        framed = _segment(found.photo[:, rows, columns][:, margin:-margin, margin:-margin])
        if MIN_OBJECT < framed.mask.float().mean() < 0.9:
            found = framed
    if all(side.any() for side in _sides(found.mask)):
        raise UserError("is refused: no object found: what stands out from the background touches all four sides")
    return _remove_shadow(found)


def _sides(mask: Tensor) -> tuple[Tensor, ...]:
    return mask[0], mask[-1], mask[:, 0], mask[:, -1]


def _segment(photo: Tensor) -> FoundObject:
    """Separate the largest object of a photograph, float `[3, H, W]`, from the background; the mask may be empty."""
    background, residuals = _fit_background(photo)
    # A Mahalanobis distance: the more a direction in colour varies in the background, the less it counts.
    covariance = residuals.T @ residuals / len(residuals) + NOISE**2 * torch.eye(3)
    whitening = torch.linalg.cholesky(torch.linalg.inv(covariance))
    smoothed = ndimage.gaussian_filter((photo - background).numpy(), (0, 1, 1))
    distance = (torch.from_numpy(smoothed).permute(1, 2, 0) @ whitening).norm(dim=2).numpy()
    mask = distance > max(MIN_DISTANCE, OTSU_FRACTION * _otsu_threshold(distance))
    return FoundObject(photo, background, _keep_largest(mask))


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
    basis = torch.stack((torch.ones_like(rows), rows, columns, rows * columns, rows**2, columns**2), dim=2)
    inputs, targets = basis[is_edge], photo.permute(1, 2, 0)[is_edge]
    residuals = targets - targets.median(0).values
    for _ in range(5):
        distances = residuals.norm(dim=1)
        is_background = distances <= max(2.5 * float(distances.median()), 4)
        # A ridge, since small photographs have fewer pixels than terms.
        x, y = inputs[is_background], targets[is_background]
        coefficients = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(x.shape[1]), x.T @ y)
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


def _remove_shadow(found: FoundObject) -> FoundObject:
    """Remove pixels that are only darker than the background, if the rest of the object has another colour."""
    photo, background, mask = found
    brightness = (photo * background).sum(0) / (background**2).sum(0).clamp(min=1)
    is_same_color = (photo - brightness * background).norm(dim=0) < SAME_COLOR
    shadow = mask & is_same_color & (brightness > SHADOW[0]) & (brightness < SHADOW[1])
    share = float(shadow.sum() / mask.sum())
    if not MIN_SHADOW < share < MAX_SHADOW or found._replace(mask=mask & ~shadow).is_dark:
        return found
    opened = ndimage.binary_opening((mask & ~shadow).numpy(), np.ones((3, 3)))  # removes the rim of the shadow
    return found._replace(mask=_keep_largest(opened)) if opened.any() else found


def _keep_largest(mask: np.ndarray) -> Tensor:
    """Return a mask, bool `[H, W]`, with its largest parts, without holes."""
    parts = ndimage.label(ndimage.maximum_filter(mask, GAP + 1), np.ones((3, 3)))[0] * mask
    sizes = np.bincount(parts.flatten())
    sizes[0] = 0
    kept = (sizes >= max(1, MIN_PART * sizes.max()))[parts]
    return torch.from_numpy(ndimage.binary_fill_holes(kept))
