"""The time and the samples that a run has taken."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fashion_mlp.classifier import Classifier


class RunProgress(Callback):
    """Count the seconds and training samples of a run, including those before an interruption.

    Logs `train/samples_per_second` of each training epoch, without its validation, over all processes.

    Attributes:
        samples: training samples that this process has used in complete epochs.
        last_validated_epoch: number of the last epoch that was validated, counted from 1; 0 before.
    """

    state_key = "run_progress"

    def __init__(self) -> None:
        self.samples = 0
        self.last_validated_epoch = 0
        self._restored = {"seconds": 0.0, "epoch_seconds": 0.0, "validation_seconds": 0.0}
        self._start_clocks()

    @property
    def seconds(self) -> float:
        """Seconds since training started."""
        return time.perf_counter() - self._start

    @property
    def epoch_seconds(self) -> float:
        """Seconds since the epoch started, with its validation."""
        return time.perf_counter() - self._epoch_start

    def logged_metrics(self, trainer: Trainer) -> dict[str, float]:
        """Return the metrics of the last complete epoch by name, without those of an earlier validation."""
        assert isinstance(trainer.lightning_module, Classifier)
        metrics = trainer.lightning_module.logged_metrics()
        if self.last_validated_epoch == trainer.current_epoch:
            return metrics
        return {name: value for name, value in metrics.items() if not name.startswith("val/")}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_clocks()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start = time.perf_counter()
        self._validation_seconds = 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_start = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_seconds += time.perf_counter() - self._validation_start
        if not trainer.sanity_checking:
            self.last_validated_epoch = trainer.current_epoch + 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        samples = pl_module.train_metrics.num_samples
        self.samples += samples
        rate = samples * trainer.world_size / (self.epoch_seconds - self._validation_seconds)
        for logger in trainer.loggers:
            logger.log_metrics({"train/samples_per_second": rate}, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "last_validated_epoch": self.last_validated_epoch,
            "seconds": self.seconds,
            "epoch_seconds": self.epoch_seconds,
            "validation_seconds": self._validation_seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.samples = state_dict["samples"]
        self.last_validated_epoch = state_dict["last_validated_epoch"]
        self._restored = state_dict
        self._start_clocks()  # `on_train_start` is not called if all epochs are complete

    def _start_clocks(self) -> None:
        now = time.perf_counter()
        self._start = now - self._restored["seconds"]
        self._epoch_start = now - self._restored["epoch_seconds"]
        self._validation_seconds = self._restored["validation_seconds"]


def get_progress(trainer: Trainer) -> RunProgress:
    """Return the `RunProgress` callback of a trainer."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, RunProgress))  # type: ignore[attr-defined]
