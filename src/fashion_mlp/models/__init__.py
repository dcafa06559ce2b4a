"""Networks from raw pixels to logits, independent of Lightning and Hydra."""

from fashion_mlp.models.averaging import TTA, Ensemble
from fashion_mlp.models.mlp import MLP

__all__ = ["MLP", "TTA", "Ensemble"]
