"""From raw pixels to the numbers that a network wants."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelNormalization(nn.Module):
    """Scales pixels from 0..255 to 0..1, subtracts the mean and divides by the standard deviation.

    Part of the model, so that nothing can be normalised twice or not at all.

    Args:
        mean: of the training pixels, on the 0..1 scale.
        std: likewise, greater than 0.
    """

    # Declared for the type checker; registered below.
    scale: Tensor
    shift: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        # Buffers follow the module to its device and precision; they come from the configuration, not the weights.
        self.register_buffer("scale", torch.tensor(1 / (255 * std)), persistent=False)
        self.register_buffer("shift", torch.tensor(-mean / std), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Take uint8, or floating-point 0..255, of any shape; return floating point of the same shape."""
        # In place on the copy, which nobody else holds: the fastest of the ways that were tried.
        return pixels.to(self.scale.dtype, copy=True).mul_(self.scale).add_(self.shift)


class PiecewiseLinearEncoding(nn.Module):
    """Gives each pixel one number for each bin of brightness: how far the pixel reaches through it.

    A number is -1 for a pixel below its bin, 1 for one above, and linear within (Gorishniy et al., 2022, arXiv
    2203.05556, with the range moved). So the first layer weighs dark against none, and white against grey, apart from
    each other, where of a pixel alone it can take only a multiple. Pixels do not mix: each bin is an image of its own.

    Args:
        edges: of the bins, ascending, on the 0..255 scale; at least two.
    """

    # Declared for the type checker; registered below.
    lower: Tensor
    width: Tensor

    def __init__(self, edges: Sequence[float]) -> None:
        super().__init__()
        ends = torch.tensor(edges, dtype=torch.get_default_dtype())
        # Buffers follow the module to its device and precision; they come from the configuration, not the weights.
        self.register_buffer("lower", ends[:-1].unsqueeze(1), persistent=False)
        self.register_buffer("width", ends.diff().unsqueeze(1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Take uint8, or floating-point 0..255, `[N, P]`; return floating point `[N, bins * P]`, bin after bin."""
        levels = pixels.to(self.lower.dtype).unsqueeze(1)
        return ((levels - self.lower) / self.width).clamp_(0, 1).mul_(2).sub_(1).flatten(1)
