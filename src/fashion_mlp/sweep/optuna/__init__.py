"""`sweep=optuna`: a search for the best configuration. Needs the extra `sweep`."""

from fashion_mlp.sweep.optuna.loop import search

__all__ = ["search"]
