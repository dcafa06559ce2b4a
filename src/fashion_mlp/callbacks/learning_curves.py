"""The learning curves as a figure."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from fashion_mlp.callbacks.run_progress import get_progress
from fashion_mlp.classifier import Classifier
from fashion_mlp.reporting import figures
from fashion_mlp.runtime.failures import warn_on_failure


class LearningCurves(Callback):
    """Save the metrics of training and validation over the epochs.

    Args:
        path: the image file to write.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epochs = get_progress(trainer).history
        if epochs and trainer.is_global_zero:
            assert isinstance(pl_module, Classifier)
            names = [f"{stage}/{name}" for name in pl_module.plotted_metrics for stage in ("train", "val")]
            history = {name: [metrics.get(name) for metrics in epochs.values()] for name in names}
            with warn_on_failure(self.path.name):
                figures.save(figures.curves(list(epochs), history), self.path)
