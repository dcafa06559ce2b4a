"""A hook at the end of a run."""

from abc import abstractmethod

from lightning import Callback, Trainer

from fashion_mlp.classifier import Classifier


class RunEndCallback(Callback):
    """A callback with work to do after the test and after `metrics.json` is written.

    A failure to draw a figure must not cost the results.
    """

    @abstractmethod
    def on_run_end(self, trainer: Trainer, classifier: Classifier) -> None:
        """Finish the records of the run. Called on rank 0 only."""
