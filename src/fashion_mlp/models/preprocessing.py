"""Preprocessing of raw pixels in the network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelNormalization(nn.Module):
    """Scale pixels from 0..255 to 0..1, subtract the mean and divide by the standard deviation.

    It is part of the model, so that no caller can omit or repeat it.

    Args:
        mean: mean of the training pixels on the 0..1 scale.
        std: standard deviation of the training pixels on the 0..1 scale, greater than 0.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        # Buffers move with the module to its device and precision; the values come from the configuration.
        self.scale = nn.Buffer(torch.tensor(1 / (255 * std)), persistent=False)
        self.shift = nn.Buffer(torch.tensor(-mean / std), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Take uint8, or floating-point 0..255, of any shape; return floating point of the same shape."""
        # In place on the copy, the fastest of several implementations.
        return pixels.to(self.scale.dtype, copy=True).mul_(self.scale).add_(self.shift)


class PiecewiseLinearEncoding(nn.Module):
    """One number per pixel and bin of brightness: -1 for a pixel below the bin, 1 above it, linear within.

    From Gorishniy et al., 2022, arXiv 2203.05556, with another range. The first layer thus has separate weights for
    dark and bright pixels. Each bin is an image: pixels are not mixed.

    Args:
        edges: edges of the bins, ascending, on the 0..255 scale; at least two.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        super().__init__()
        ends = torch.tensor(edges, dtype=torch.get_default_dtype())
        # Buffers move with the module to its device and precision; the values come from the configuration.
        self.lower = nn.Buffer(ends[:-1].unsqueeze(1), persistent=False)
        self.width = nn.Buffer(ends.diff().unsqueeze(1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Take uint8, or floating-point 0..255, `[N, P]`; return floating point `[N, bins * P]`, bin after bin."""
        levels = pixels.to(self.lower.dtype).unsqueeze(1)
        return ((levels - self.lower) / self.width).clamp_(0, 1).mul_(2).sub_(1).flatten(1)
