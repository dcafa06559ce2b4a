"""The multilayer perceptron: its layers, its dropout and the initialization of its weights."""

from collections.abc import Sequence
from math import log, prod, sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from fashion_mlp.models.preprocessing import PiecewiseLinearEncoding, PixelNormalization

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMS: dict[str, type[nn.Module] | None] = {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
# Random bits per unit of dropout.
BITS = 16
# Range of the standard deviation of a window of `local_`, as a fraction of the longer side of the image.
WINDOW_WIDTHS = (0.05, 0.18)


class FastDropout(nn.Dropout):
    """Dropout (Srivastava et al., 2014) that draws 16 random bits per unit on a CPU.

    Torch draws a whole random number per unit, which takes several times as long as the rest of dropout. Here a number
    of 64 bits serves four units, and `p` is rounded to a multiple of 2**-16. Compiled code and other devices use
    torch's dropout.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name in nn.Dropout
        """Return a tensor of the same shape and type, with units set to 0 or scaled in training."""
        if not self.training or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        dropped = min(round(self.p * 2**BITS), 2**BITS - 1)
        numbers = torch.empty(-(-input.numel() * BITS // 64), dtype=torch.int64, device="cpu")
        bits = numbers.random_(-(2**63), None).view(torch.int16)[: input.numel()].view_as(input)
        is_kept = bits >= dropped - 2 ** (BITS - 1)
        scaled: Tensor = input * is_kept.to(input.dtype).div_(1 - dropped / 2**BITS)
        return scaled


class MLP(nn.Module):
    """A multilayer perceptron from raw pixels to logits.

    A hidden layer consists of a linear layer, the optional norm, the activation and optional dropout. Without hidden
    layers the network is softmax regression.

    Args:
        hidden_sizes: number of units of each hidden layer.
        activation: one of `ACTIVATIONS`.
        dropout: probability to drop a hidden unit in training, in [0, 1).
        norm: one of `NORMS`.
        init: initialization of the weights: "kaiming", "xavier", "local" or "default", see `initialize`.
        mean: mean of the training pixels on the 0..1 scale.
        std: standard deviation of the training pixels on the 0..1 scale.
        pixel_bins: edges of the bins of a `PiecewiseLinearEncoding` on the 0..255 scale, which replaces the
            normalization by mean and standard deviation.
        image_shape: channels, height and width.
        num_classes: number of logits.

    Raises:
        KeyError: unknown `activation` or `norm`.
        ValueError: unknown `init`.
    """

    def __init__(
        self,
        hidden_sizes: Sequence[int] = (512, 512),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str = "none",
        init: str = "kaiming",
        mean: float = 0.2860,
        std: float = 0.3530,
        pixel_bins: Sequence[float] | None = None,
        image_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        norm_layer = NORMS[norm]
        layers: list[nn.Module] = []
        width = prod(image_shape) * (1 if pixel_bins is None else len(pixel_bins) - 1)
        for size in hidden_sizes:
            layers.append(nn.Linear(width, size))
            if norm_layer is not None:
                layers.append(norm_layer(size))
            layers.append(ACTIVATIONS[activation]())
            if dropout > 0:
                layers.append(FastDropout(dropout))
            width = size
        layers.append(nn.Linear(width, num_classes))

        self.preprocessing: PixelNormalization | PiecewiseLinearEncoding = (
            PixelNormalization(mean, std) if pixel_bins is None else PiecewiseLinearEncoding(pixel_bins)
        )
        self.layers = nn.Sequential(*layers)
        initialize(self.layers, init, image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits.

        Args:
            images: uint8, or floating-point 0..255, `[N, C, H, W]`.

        Returns:
            Floating point `[N, num_classes]`.
        """
        logits: Tensor = self.layers(self.preprocessing(images.flatten(1)))
        return logits


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
    narrowest, widest = (log(fraction * max(height, width)) for fraction in WINDOW_WIDTHS)
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
    weight.copy_(filters * (sqrt(2) / filters.norm(dim=1, keepdim=True)))
