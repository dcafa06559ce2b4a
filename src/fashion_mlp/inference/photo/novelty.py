"""Detect images unlike all training images, by the distance to the nearest of them.

The features of an image are the square root of its brightness, averaged over a grid. They were chosen on validation
images: they separate letters, noise and scribbles from garments better than a Mahalanobis distance, PCA, or the
confidence of the network.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

# Rows and columns of the grid.
GRID = 7
# Number of training images to compare an image with.
NUM_REFERENCES = 5000
# Fraction of other training images within the largest distance.
FRACTION_WITHIN = 0.99


def describe_images(images: Tensor) -> dict[str, Any]:
    """Return what `is_novel` compares an image with: features of training images, and the largest distance from them.

    Args:
        images: training images, uint8 `[N, 1, H, W]`, at least two. Every second one is compared with the others.
    """
    features = _features(images[::2][:NUM_REFERENCES])
    distances = _distances(images[1::2][: NUM_REFERENCES // 2], features)
    # Rounded, since the last digits depend on the number of threads.
    return {"features": features, "max_distance": round(float(distances.quantile(FRACTION_WITHIN)), 1)}


def is_novel(image: Tensor, description: Mapping[str, Any]) -> bool:
    """Return True if an image, uint8 `[1, H, W]`, is farther from all training images than the largest distance."""
    return bool(_distances(image.unsqueeze(0), description["features"]) > description["max_distance"])


def is_valid_description(value: Any) -> bool:
    """Return True if a value from an untrusted file has the form of the result of `describe_images`."""
    match value:
        case {"max_distance": float(), "features": Tensor(dtype=torch.uint8) as features}:
            return features.numel() > 0 and features.shape[1:] == (GRID * GRID,)
    return False


def _features(images: Tensor) -> Tensor:
    """Return features, uint8 `[N, GRID * GRID]`."""
    return adaptive_avg_pool2d((255 * images.float()).sqrt(), GRID).flatten(1).round().to(torch.uint8)


def _distances(images: Tensor, features: Tensor) -> Tensor:
    """Return the distance of each image to the nearest features, float `[N]`."""
    return torch.cdist(_features(images).float(), features.float()).amin(1)
