"""The same image, looked at several times."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fashion_mlp.models.ensemble import log_mean_probabilities

# Of an image, in pixels down and to the right: none, and one in each direction.
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


class TTA(nn.Module):
    """Test-time augmentation: averages a network's probabilities over several views of each image.

    These are the image and, if asked for, its mirror image, left and right exchanged, each as it is and, if asked for,
    under the others of `SHIFTS`; what is shifted in is 0, the background of Fashion-MNIST. For networks that were
    trained on such views: others lose by it.

    Args:
        model: the network, from raw pixels to logits.
        flip: whether to take the mirror image too.
        shift: whether to shift.
    """

    def __init__(self, model: nn.Module, *, flip: bool = True, shift: bool = True) -> None:
        super().__init__()
        self.model = model
        self.flip = flip
        self.shift = shift

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities, `[N, num_classes]`, of raw pixels `[N, C, H, W]`."""
        # One view after the other, which needs no more memory than the network alone.
        seen = views(images, flip=self.flip, shift=self.shift)
        return log_mean_probabilities(torch.stack([self.model(view) for view in seen]))

    @property
    def num_views(self) -> int:
        """Views of each image."""
        return (1 + self.flip) * (len(SHIFTS) if self.shift else 1)


def views(images: Tensor, *, flip: bool, shift: bool) -> list[Tensor]:
    """Return the views of images `[N, C, H, W]`, tensors of the same shape, the images themselves first."""
    height, width = images.shape[-2:]
    # One pixel of background on each side, out of which each view is cut.
    framed = pad(images, (1, 1, 1, 1))
    return [
        side[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        for side in ((framed, framed.flip(-1)) if flip else (framed,))
        for down, right in (SHIFTS if shift else SHIFTS[:1])
    ]
