"""The multilayer perceptron."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from fashion_mlp.models.dropout import FastDropout
from fashion_mlp.models.initialization import initialize
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


class MLP(nn.Module):
    """A multilayer perceptron from raw pixels to logits.

    Each hidden layer is linear, then the norm, the activation and dropout, as far as they are asked for. Without
    hidden layers it is softmax regression.

    Args:
        hidden_sizes: units of each hidden layer.
        activation: one of `ACTIVATIONS`.
        dropout: probability that a hidden unit is dropped in training, 0 to less than 1.
        norm: one of `NORMS`.
        init: of the weights: "kaiming", "xavier", "local" or "default", see `initialize`.
        mean: of the training pixels, on the 0..1 scale.
        std: likewise.
        pixel_bins: edges of the bins of a `PiecewiseLinearEncoding`, on the 0..255 scale, which then takes the place of
            the normalization by mean and standard deviation.
        image_shape: channels, height and width.
        num_classes: number of logits.

    Raises:
        KeyError: `activation` or `norm` has no such name.
        ValueError: `init` has no such name.
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
        make_norm = NORMS[norm]
        layers: list[nn.Module] = []
        width = prod(image_shape) * (1 if pixel_bins is None else len(pixel_bins) - 1)
        for size in hidden_sizes:
            layers.append(nn.Linear(width, size))
            if make_norm is not None:
                layers.append(make_norm(size))
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
