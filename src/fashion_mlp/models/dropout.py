"""Dropout with masks that are faster to draw on a CPU."""

import torch
from torch import Tensor, nn

# Random bits per unit.
BITS = 16


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
