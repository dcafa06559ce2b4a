"""Augmentation of whole batches on their device, with random numbers of its own for each image."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import one_hot, pad

# Least and greatest part of an image that random erasing covers, as in torchvision's `RandomErasing`.
ERASED_AREA = (0.02, 0.33)
# Likewise height by width of what it covers.
ERASED_ASPECT = (0.3, 3.3)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes to the images of a minibatch, in this order; each is off at 0, and then draws nothing.

    `torchvision.transforms.v2` draws once for a whole batch, so that all of its images would be flipped or none; image
    by image it takes longer than the optimizer step of a small network, of which this takes a tenth. The random numbers
    are those of torch's global generator for the images' device: with its state restored, a run goes on as it would
    have.

    Args:
        hflip: probability that an image is mirrored, left to right.
        translate: pixels by which an image is moved at most, up or down and to a side; black moves in.
        erasing: probability that a rectangle of the image is made black: random erasing (arXiv 1708.04896). One that
            would be longer than the image is cut to its length.
        mixup: alpha of the Beta distribution from which each image's weight in its mix with another one of the
            minibatch comes (arXiv 1710.09412). The larger weight goes to the image whose place the mix takes, which for
            images in random order is the same, and keeps the labels right for a training accuracy. Below 0.01 torch
            draws it wrongly.
        off_fraction: the part of the run at its end, less than 1, in which images stay as they are.
    """

    hflip: float = 0.0
    translate: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    off_fraction: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether it does anything."""
        return any((self.hflip, self.translate, self.erasing, self.mixup))

    def __call__(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Augment a minibatch.

        Args:
            images: uint8 `[B, C, H, W]`.
            labels: int64 `[B]`.
            num_classes: the number of classes.

        Returns:
            The images, likewise, and their targets: the labels, or with mixup probabilities `[B, num_classes]`.
        """
        if self.hflip or self.translate:
            images = self._flip_shift(images)
        if self.erasing:
            images = self._random_erase(images)
        return self._mixup(images, labels, num_classes) if self.mixup else (images, labels)

    def _flip_shift(self, images: Tensor) -> Tensor:
        """Flip and shift: each row of the result is a window of the padded images, or of their mirror images.

        One `index_select` copies them all, of the ways that were tried the fastest, and it waits for no device.
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
        pixels = _between(ERASED_AREA, area) * height * width
        ratio = _between((math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1])), aspect).exp()
        rows = (pixels * ratio).sqrt().round().clamp(1, height) * (chance < self.erasing)
        columns = (pixels / ratio).sqrt().round().clamp(1, width)
        stays_in_rows, stays_in_columns = ~_within(top, rows, height), ~_within(left, columns, width)
        # As bytes, which take a third of the time of truth values here.
        stays = stays_in_rows.byte().view(size, 1, height, 1) | stays_in_columns.byte().view(size, 1, 1, width)
        return images * stays

    def _mixup(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        weights = _symmetric_beta(self.mixup, images.device).sample((len(labels),))
        weights = torch.maximum(weights, 1 - weights)
        partners = torch.randperm(len(labels), device=images.device)
        targets = one_hot(labels, num_classes).float()
        pixels = images.index_select(0, partners).float().lerp_(images.float(), weights.view(-1, 1, 1, 1)).round_()
        # By way of 16 bits it takes a third of the time.
        mixed = pixels.short().to(images.dtype)
        return mixed, targets.index_select(0, partners).lerp_(targets, weights.view(-1, 1))


@cache  # to make it takes as long as to draw from it
def _symmetric_beta(alpha: float, device: torch.device) -> Beta:
    concentration = torch.full((), alpha, dtype=torch.float32, device=device)
    return Beta(concentration, concentration, validate_args=False)


def _between(bounds: tuple[float, float], part: Tensor) -> Tensor:
    """Return the numbers that lie a part, 0 to 1, of the way from the first bound to the second."""
    return bounds[0] + (bounds[1] - bounds[0]) * part


def _within(position: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Return which of `size` pixels lie in an interval.

    Args:
        position: of the interval, 0 for the first place where all of it lies within, to 1 for the last, `[B, 1]`.
        lengths: of the interval, whole numbers of pixels, `[B, 1]`.
        size: the number of pixels.

    Returns:
        bool `[B, size]`.
    """
    begin = (position * (size - lengths + 1)).floor()
    pixels = torch.arange(size, device=position.device)
    return (pixels >= begin) & (pixels < begin + lengths)
