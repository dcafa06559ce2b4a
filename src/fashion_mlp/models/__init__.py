"""Networks from raw pixels to logits, independent of Lightning and Hydra."""

from fashion_mlp.models.ensemble import Ensemble
from fashion_mlp.models.mlp import MLP
from fashion_mlp.models.tta import TTA

__all__ = ["MLP", "TTA", "Ensemble"]
