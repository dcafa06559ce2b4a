"""Test-time augmentation."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fashion_mlp.models.ensemble import log_mean_probabilities

# Translations of an image in pixels, down and to the right: none, and one pixel in each direction.
TRANSLATIONS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


class TTA(nn.Module):
    """Average of a network's class probabilities over several views of each image.

    The views are the image and its mirror image, each translated by `TRANSLATIONS`; zeros move in, the background of
    Fashion-MNIST. It improves networks that were trained on such views, and harms others.

    Args:
        model: network from raw pixels to logits.
        hflip: True to include mirror images.
        translate: True to include translated images.
    """

    def __init__(self, model: nn.Module, *, hflip: bool = True, translate: bool = True) -> None:
        super().__init__()
        self.model = model
        self.hflip = hflip
        self.translate = translate

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities, `[N, num_classes]`, of raw pixels `[N, C, H, W]`."""
        # One view after the other, which needs no more memory than the network alone.
        return log_mean_probabilities(torch.stack([self.model(view) for view in self.views(images)]))

    def views(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the views of images `[N, C, H, W]`, tensors of the same shape; the first are the images themselves."""
        height, width = images.shape[-2:]
        padded = pad(images, (1, 1, 1, 1))
        for side in (padded, padded.flip(-1)) if self.hflip else (padded,):
            for down, right in TRANSLATIONS if self.translate else TRANSLATIONS[:1]:
                yield side[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width]
