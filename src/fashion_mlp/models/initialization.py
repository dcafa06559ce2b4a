"""Weights before training."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

# Least and greatest standard deviation of a window of `local_`, in parts of the image's longer side.
WINDOW_WIDTHS = (0.05, 0.18)


def initialize(layers: nn.Sequential, init: str, image_shape: Sequence[int]) -> None:
    """Initialise the linear layers in place; the last one, which no activation follows, always with unit gain.

    Args:
        layers: of an MLP.
        init: "kaiming" (He et al., 2015, arXiv 1502.01852) or "xavier" (Glorot and Bengio, 2010), normal, with zero
            biases; "local", which is kaiming but for the first layer, of hidden units that begin with a part of the
            image each, see `local_`; or "default", torch's own.
        image_shape: channels, height and width of what the first layer takes.

    Raises:
        ValueError: `init` has no such name.
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
    """Give each unit smooth noise within a window on the image, Gaussian, of its own place and width.

    So the units begin with what convolutions are made for: pixels that lie together. That is a beginning only, all
    weights are trained; what it gains an MLP on images was shown with the weights of a convolutional network
    (d'Ascoli et al., 2019, arXiv 1906.06766). The norms are those of kaiming.

    Args:
        weight: `[units, bins * pixels]`, filled in place, for all bins of a pixel alike.
        image_shape: channels, height and width, whose product is `pixels`.
    """
    units = len(weight)
    channels, height, width = image_shape
    narrowest, widest = (math.log(part * max(height, width)) for part in WINDOW_WIDTHS)
    # At least a pixel, or on small images a window could lie between pixels and see none.
    widths = torch.empty(units, 1, 1).uniform_(narrowest, widest).exp().clamp(min=1)
    top, left = torch.rand(2, units, 1, 1)
    down = torch.arange(height).view(1, -1, 1) - top * height
    right = torch.arange(width).view(1, 1, -1) - left * width
    window = (-(down**2 + right**2) / (2 * widths**2)).exp().unsqueeze(1)
    binomial = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])).expand(channels, 1, 3, 3)
    noise = conv2d(torch.randn(units, channels, height, width), binomial, padding=1, groups=channels)
    filters = (noise * window).flatten(1)
    filters = filters.repeat(1, weight.shape[1] // filters.shape[1])
    weight.copy_(filters * (math.sqrt(2) / filters.norm(dim=1, keepdim=True)))
