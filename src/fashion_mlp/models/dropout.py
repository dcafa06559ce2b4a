"""Dropout whose masks cost less to draw on a CPU."""

import torch
from torch import Tensor, nn

# Random bits for each unit.
BITS = 16


class FastDropout(nn.Dropout):
    """Sets units to 0 with probability `p` in training, and scales the others up (Srivastava et al., 2014).

    On a CPU torch draws a random number of its own for each unit, which takes several times as long as all else that
    dropout does. Here each of them serves four units, so that `p` is a multiple of 2 to the power of -16.
    What is compiled draws in its own way.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name in nn.Dropout
        """Take floating point of any shape; return the same shape and type."""
        if not self.training or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        dropped = min(round(self.p * 2**BITS), 2**BITS - 1)
        is_kept = _random_bits(input) >= dropped - 2 ** (BITS - 1)
        scaled: Tensor = input * is_kept.to(input.dtype).div_(1 - dropped / 2**BITS)
        return scaled


def _random_bits(like: Tensor) -> Tensor:
    """Return int16 of the same shape, each of its numbers as likely as any other."""
    numbers_of_64_bits = torch.empty(-(-like.numel() * BITS // 64), dtype=torch.int64, device=like.device)
    return numbers_of_64_bits.random_(-(2**63), None).view(torch.int16)[: like.numel()].view_as(like)
