"""Ensembles of networks, and the average of class probabilities."""

from collections.abc import Iterable
from math import log

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Average of the class probabilities of several networks (Lakshminarayanan et al., 2017, arXiv 1612.01474).

    Args:
        members: networks with the same input and the same classes.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities, `[N, num_classes]`."""
        return log_mean_probabilities(torch.stack([member(images) for member in self.members]))


def log_mean_probabilities(logits: Tensor) -> Tensor:
    """Average the probabilities over the first dimension: logits `[M, N, num_classes]` to `[N, num_classes]`.

    The results are logits, too: their softmax is the mean of the probabilities.
    """
    return logits.log_softmax(-1).logsumexp(0) - log(len(logits))
