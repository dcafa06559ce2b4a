"""The metrics, the time and the samples of a run, and one log line per epoch."""

import logging
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fashion_mlp.classifier import Classifier

log = logging.getLogger(__name__)


class RunProgress(Callback):
    """Record the metrics of each epoch, and the seconds and training samples of the run; log one line per epoch.

    The state includes the epochs, seconds and samples before an interruption.

    Attributes:
        history: metrics by name, for each epoch, counted from 1; `val/*` only if the epoch was validated.
        samples: training samples that this process has used in complete epochs.
    """

    state_key = "run_progress"

    def __init__(self) -> None:
        self.load_state_dict({"history": {}, "samples": 0, "seconds": 0.0, "epoch_start": 0.0})

    @property
    def seconds(self) -> float:
        """Seconds since training started."""
        return time.perf_counter() - self._start

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter() - self._earlier_seconds
        self._recorded_epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record(trainer)
        self._epoch_start = self.seconds

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            assert isinstance(pl_module, Classifier)
            self.history[trainer.current_epoch + 1] = pl_module.logged_metrics("val/")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.samples += pl_module.train_metrics.num_samples

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record(trainer)

    def state_dict(self) -> dict[str, Any]:
        clocks = {"seconds": self.seconds, "epoch_start": self._epoch_start}
        return {"history": self.history, "samples": self.samples, **clocks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history: dict[int, dict[str, float]] = state_dict["history"]
        self.samples: int = state_dict["samples"]
        self._earlier_seconds: float = state_dict["seconds"]
        self._epoch_start = state_dict["epoch_start"]
        # Overwritten in `on_train_start`, which is not called if all epochs are complete.
        self._start = time.perf_counter() - self._earlier_seconds

    def _record(self, trainer: Trainer) -> None:
        """Record and log the last epoch, unless this was done. Lightning logs its metrics after its last hook."""
        epoch, classifier = trainer.current_epoch, trainer.lightning_module
        if epoch == self._recorded_epoch:
            return
        self._recorded_epoch = epoch
        assert isinstance(classifier, Classifier)
        metrics = self.history.setdefault(epoch, {})
        metrics |= {name: value for name, value in classifier.logged_metrics().items() if not name.startswith("val/")}
        parts = [f"epoch {epoch}/{trainer.max_epochs}"]
        for split in ("train", "val", "train_after_epoch", "test_after_epoch"):
            keys = {name: f"{split}/{name}" for name in classifier.shown_metrics}
            if values := [f"{name} {metrics[key]:.4f}" for name, key in keys.items() if key in metrics]:
                parts.append(" ".join([split.replace("_", " "), *values]))
        parts += [f"lr {classifier.last_learning_rate:.2e}", f"{self.seconds - self._epoch_start:.1f} s"]
        if trainer.is_global_zero:
            log.info("   ".join(parts))


def get_progress(trainer: Trainer) -> RunProgress:
    """Return the `RunProgress` callback of a trainer."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, RunProgress))  # type: ignore[attr-defined]
