"""Initialization of the weights."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

# Range of the standard deviation of a window of `local_`, as a fraction of the longer side of the image.
WINDOW_WIDTHS = (0.05, 0.18)


def initialize(layers: nn.Sequential, init: str, image_shape: Sequence[int]) -> None:
    """Initialize the linear layers in place; the last one, which no activation follows, with unit gain.

    Args:
        layers: the layers of an MLP.
        init: "kaiming" (He et al., 2015, arXiv 1502.01852) or "xavier" (Glorot and Bengio, 2010), both normal with
            zero biases; "local", which is "kaiming" except for the first layer, see `local_`; or "default", torch's
            own.
        image_shape: channels, height and width of the input.

    Raises:
        ValueError: unknown `init`.
    """
    if init == "default":
        return
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    for linear in linears:
        if init == "local" and linear is linears[0] and len(linears) > 1:
            local_(linear.weight, image_shape)
        elif init in ("kaiming", "local"):
            nn.init.kaiming_normal_(linear.weight, nonlinearity="linear" if linear is linears[-1] else "relu")
        elif init == "xavier":
            nn.init.xavier_normal_(linear.weight)
        else:
            raise ValueError(f"init={init!r}: not one of kaiming, xavier, local, default")
        nn.init.zeros_(linear.bias)


@torch.no_grad()
def local_(weight: Tensor, image_shape: Sequence[int]) -> None:
    """Initialize each unit with smooth noise in a Gaussian window of random position and width on the image.

    The units thus start with the locality of convolutions; all weights are trained. The weights of a convolutional
    network improve an MLP on images in the same way (d'Ascoli et al., 2019, arXiv 1906.06766). The norms of the weights
    are those of "kaiming".

    Args:
        weight: `[units, bins * pixels]`, changed in place; all bins of a pixel have the same weight.
        image_shape: channels, height and width, whose product is `pixels`.
    """
    units = len(weight)
    channels, height, width = image_shape
    narrowest, widest = (math.log(fraction * max(height, width)) for fraction in WINDOW_WIDTHS)
    # At least one pixel, since a narrower window between two pixels of a small image would be empty.
    widths = torch.empty(units, 1, 1).uniform_(narrowest, widest).exp().clamp(min=1)
    top, left = torch.rand(2, units, 1, 1)
    down = torch.arange(height).view(1, -1, 1) - top * height
    right = torch.arange(width).view(1, 1, -1) - left * width
    window = (-(down**2 + right**2) / (2 * widths**2)).exp().unsqueeze(1)
    binomial = torch.tensor([1.0, 2.0, 1.0])
    kernel = binomial.outer(binomial).expand(channels, 1, 3, 3)
    noise = conv2d(torch.randn(units, channels, height, width), kernel, padding=1, groups=channels)
    filters = (noise * window).flatten(1)
    filters = filters.repeat(1, weight.shape[1] // filters.shape[1])
    weight.copy_(filters * (math.sqrt(2) / filters.norm(dim=1, keepdim=True)))
