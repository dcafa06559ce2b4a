"""Figures of a finished run."""

from abc import abstractmethod

from lightning import Callback, Trainer

from fashion_mlp.classifier import Classifier


class FinalFigures(Callback):
    """Draws figures once a run is finished and its `metrics.json` is written: what is only shown costs no result."""

    @abstractmethod
    def save_figures(self, trainer: Trainer, classifier: Classifier) -> None:
        """Draw and save the figures; called in the first process. A figure that fails is reported in a line."""
