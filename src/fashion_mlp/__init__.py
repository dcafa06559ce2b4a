"""Multilayer perceptrons on Fashion-MNIST with PyTorch Lightning and Hydra.

Importing the package stays light: torch is loaded by the modules that need it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fashion_mlp.checkpoint.load import load_classifier

__all__ = ["load_classifier"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load_classifier":
        from fashion_mlp.checkpoint.load import load_classifier

        return load_classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
