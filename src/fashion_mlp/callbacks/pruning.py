"""A trial of a search ends early when it promises nothing. Needs the extra `sweep`."""

import logging
from functools import partial

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from fashion_mlp.monitoring import OBJECTIVES
from fashion_mlp.search.running_trial import RunningTrial

log = logging.getLogger(__name__)


class Pruning(Callback):
    """Tells Optuna the objective after each epoch, and ends the training when its pruner gives the trial up.

    A run that is given up ends like one that has come to its last epoch, with its checkpoint and `metrics.json`.

    Args:
        storage: URL of the study's database.
        study_name: which study there.
        number: of the trial.
        pruner: "median", "hyperband" or "none".
    """

    def __init__(self, storage: str, study_name: str, number: int, pruner: str) -> None:
        # Found when training begins: a process that is not the first has no business with it.
        self._find_trial = partial(RunningTrial, storage, study_name, number, pruner)
        self._trial: RunningTrial

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._trial = self._find_trial()

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        given_up = trainer.is_global_zero and self._is_given_up(trainer)
        if trainer.strategy.reduce_boolean_decision(given_up, all=False):
            trainer.should_stop = True

    def _is_given_up(self, trainer: Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        value = float(trainer.callback_metrics[OBJECTIVES[0]])
        self._trial.report(epoch, value)
        if epoch == trainer.max_epochs or not self._trial.is_hopeless(epoch):
            return False
        self._trial.mark_pruned()
        log.info(f"pruned after epoch {epoch}: {OBJECTIVES[0]} {value:.4f} promises less than the trials before")
        return True
