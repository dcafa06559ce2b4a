"""Augmentation of whole batches on their device, with independent random numbers for each image."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import one_hot, pad

# Range of the fraction of an image that random erasing covers, as in torchvision's `RandomErasing`.
ERASED_AREA = (0.02, 0.33)
# Range of the ratio of height to width of the erased rectangle, from the same source.
ERASED_ASPECT = (0.3, 3.3)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of the images of a batch, in this order; a change at 0 is off and draws no random numbers.

    `torchvision.transforms.v2` draws once per batch, so that it flips all images of a batch or none. Applied to each
    image, it takes longer than the optimizer step of a small network; this class takes a tenth of that step. Random
    numbers come from torch's global generator for the device of the images, so that a resumed run continues exactly.

    Args:
        hflip: probability of a horizontal flip.
        translate: maximum translation in pixels, vertically and horizontally; black pixels move in.
        erasing: probability of random erasing (arXiv 1708.04896), which makes a rectangle of the image black. A side
            that would be longer than the image is cut to its length.
        mixup: alpha of the Beta distribution of the mixing weights of mixup (arXiv 1710.09412). An image has the larger
            weight in its own mix, so that the labels remain correct for the training accuracy; for images in random
            order, this is equivalent. Torch draws wrong numbers for values below 0.01.
        off_fraction: fraction of the run, at its end, without augmentation, in [0, 1).
    """

    hflip: float = 0.0
    translate: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    off_fraction: float = 0.0

    @property
    def is_on(self) -> bool:
        """True if any change is on."""
        return any((self.hflip, self.translate, self.erasing, self.mixup))

    def __call__(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: uint8 `[B, C, H, W]`.
            labels: int64 `[B]`.
            num_classes: number of classes.

        Returns:
            Images of the same type and shape, and targets: the labels, or with mixup probabilities `[B, num_classes]`.
        """
        if self.hflip or self.translate:
            images = self._flip_and_translate(images)
        if self.erasing:
            images = self._random_erase(images)
        return self._mixup(images, labels, num_classes) if self.mixup else (images, labels)

    def _flip_and_translate(self, images: Tensor) -> Tensor:
        """Copy each row of the result from the padded images or from their mirror images.

        A single `index_select` was the fastest of several implementations, and does not synchronize with the device.
        """
        size, channels, height, width = images.shape
        device, margin = images.device, self.translate
        source = pad(images, (margin, margin, margin, margin))
        planes = torch.arange(size * channels, device=device).view(size, channels, 1)
        rows = planes * source.shape[2] + torch.arange(height, device=device)
        columns = torch.zeros(size, 1, 1, dtype=torch.int64, device=device)
        is_flipped = torch.rand(size, 1, 1, device=device) < self.hflip if self.hflip else None
        if self.translate:
            down, columns = torch.randint(2 * margin + 1, (2, size, 1, 1), device=device)
            rows = rows + down
        if is_flipped is not None:
            columns = torch.where(is_flipped, source.numel() + 2 * margin - columns, columns)
            source = torch.cat((source, source.flip(3)))
        windows = source.flatten().unfold(0, width, 1)
        return windows.index_select(0, (rows * source.shape[3] + columns).flatten()).view_as(images)

    def _random_erase(self, images: Tensor) -> Tensor:
        size, _, height, width = images.shape
        chance, area, aspect, top, left = torch.rand(5, size, 1, device=images.device)
        pixels = _scale(area, *ERASED_AREA) * height * width
        ratio = _scale(aspect, *map(math.log, ERASED_ASPECT)).exp()
        rows = (pixels * ratio).sqrt().round().clamp(1, height) * (chance < self.erasing)
        columns = (pixels / ratio).sqrt().round().clamp(1, width)
        # Bytes, since booleans take three times as long here.
        keeps_row = (~_interval_mask(top, rows, height)).byte().view(size, 1, height, 1)
        keeps_column = (~_interval_mask(left, columns, width)).byte().view(size, 1, 1, width)
        return images * (keeps_row | keeps_column)

    def _mixup(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        weights = _symmetric_beta(self.mixup, images.device).sample((len(labels),))
        weights = torch.maximum(weights, 1 - weights)
        partners = torch.randperm(len(labels), device=images.device)
        targets = one_hot(labels, num_classes).float()
        pixels = images.index_select(0, partners).float().lerp_(images.float(), weights.view(-1, 1, 1, 1)).round_()
        # The conversion by way of int16 takes a third of the time.
        mixed = pixels.short().to(images.dtype)
        return mixed, targets.index_select(0, partners).lerp_(targets, weights.view(-1, 1))


@cache  # the constructor takes as long as a sample
def _symmetric_beta(alpha: float, device: torch.device) -> Beta:
    concentration = torch.full((), alpha, dtype=torch.float32, device=device)
    return Beta(concentration, concentration, validate_args=False)


def _scale(fraction: Tensor, low: float, high: float) -> Tensor:
    """Map numbers from [0, 1] to [low, high]."""
    return low + (high - low) * fraction


def _interval_mask(position: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Return which of `size` pixels are in an interval.

    Args:
        position: from 0 for the first possible place of the interval to 1 for the last, `[B, 1]`.
        lengths: length of the interval in pixels, `[B, 1]`.
        size: number of pixels.

    Returns:
        bool `[B, size]`.
    """
    begin = (position * (size - lengths + 1)).floor()
    pixels = torch.arange(size, device=position.device)
    return (pixels >= begin) & (pixels < begin + lengths)
