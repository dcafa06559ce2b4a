"""Several networks as one."""

from collections.abc import Iterable
from math import log

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Averages the probabilities that its members give each class (Lakshminarayanan et al., 2017, arXiv 1612.01474).

    Args:
        members: networks from the same raw pixels to logits of the same classes.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Take what each member takes; return the logarithms of the mean probabilities, `[N, num_classes]`."""
        return log_mean_probabilities(torch.stack([member(images) for member in self.members]))


def log_mean_probabilities(logits: Tensor) -> Tensor:
    """Average probabilities over the first dimension: logits `[M, N, num_classes]` to `[N, num_classes]`.

    The result is logits as well: their softmax gives back the mean probabilities.
    """
    return logits.log_softmax(-1).logsumexp(0) - log(len(logits))
