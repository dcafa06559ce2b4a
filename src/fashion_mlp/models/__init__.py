"""Networks: raw pixels in, logits out. They know nothing of Lightning or Hydra."""

from fashion_mlp.models.mlp import MLP

__all__ = ["MLP"]
