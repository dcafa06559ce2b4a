"""The same image, looked at several times."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fashion_mlp.models.ensemble import log_mean_probabilities

SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Of an image, in pixels down and to the right: none, and one in each direction."""
NUM_VIEWS = 2 * len(SHIFTS)


class TTA(nn.Module):
    """Test-time augmentation: averages a network's probabilities over `NUM_VIEWS` views of each image.

    These are the image and its mirror image, left and right exchanged, each under every one of `SHIFTS`; what is
    shifted in is 0, the background of Fashion-MNIST. For images that mean the same when mirrored, as clothes do, and
    digits and letters do not; and for networks that were trained on such views: others lose by it.

    Args:
        model: the network, from raw pixels to logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities, `[N, num_classes]`, of raw pixels `[N, C, H, W]`."""
        # One view after the other, which needs no more memory than the network alone.
        return log_mean_probabilities(torch.stack([self.model(view) for view in views(images)]))


def views(images: Tensor) -> list[Tensor]:
    """Return the views of images `[N, C, H, W]`: `NUM_VIEWS` tensors of the same shape, the images themselves first."""
    height, width = images.shape[-2:]
    # One pixel of background on each side, out of which each view is cut.
    framed = pad(images, (1, 1, 1, 1))
    return [
        side[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        for side in (framed, framed.flip(-1))
        for down, right in SHIFTS
    ]
