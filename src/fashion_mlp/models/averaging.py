"""Averages of class probabilities: over several networks, and over several views of an image."""

from collections.abc import Iterable, Iterator
from math import log

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

# Translations of an image in pixels, down and to the right: none, and one pixel in each direction.
TRANSLATIONS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


class Ensemble(nn.Module):
    """Average of the class probabilities of several networks (Lakshminarayanan et al., 2017, arXiv 1612.01474).

    Args:
        members: networks with the same input and the same classes.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities, `[N, num_classes]`."""
        return log_mean_probabilities(torch.stack([member(images) for member in self.members]))


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


def log_mean_probabilities(logits: Tensor) -> Tensor:
    """Average the probabilities over the first dimension: logits `[M, N, num_classes]` to `[N, num_classes]`.

    The results are logits, too: their softmax is the mean of the probabilities.
    """
    return logits.log_softmax(-1).logsumexp(0) - log(len(logits))
