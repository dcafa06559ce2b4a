"""Pruning: a trial of a search that is worse than others ends early. Needs the extra `sweep`."""

import logging

from lightning import Callback, LightningModule, Trainer
from optuna.trial import TrialState

from fashion_mlp.sweep.optuna.loop import open_storage, open_trial

log = logging.getLogger(__name__)


class Pruning(Callback):
    """Report the objective to Optuna after each epoch, and end the training when its pruner says so.

    A pruned run ends like one after its last epoch, with its checkpoint and `metrics.json`.

    Args:
        sweep_dir: the directory of the search, which holds the database.
        number: number of the trial.
        pruner: "median", "hyperband" or "none".
        objective: the validation metric that the search compares.
    """

    def __init__(self, sweep_dir: str, number: int, pruner: str, objective: str) -> None:
        self.sweep_dir = sweep_dir
        self.number = int(number)
        self.pruner = pruner
        self.objective = objective
        self._is_pruned = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:  # the other ranks do not use the database
            self._trial = open_trial(open_storage(self.sweep_dir), self.pruner, self.number)
            # Reported by an interrupted attempt with the same seed. Optuna keeps the first value of an epoch.
            self._last_epoch = self._trial.study.trials[self.number].last_step or 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or self._is_pruned:
            return
        should_prune = trainer.is_global_zero and self._should_prune(trainer)
        self._is_pruned = trainer.strategy.reduce_boolean_decision(should_prune, all=False)
        trainer.should_stop |= self._is_pruned

    def _should_prune(self, trainer: Trainer) -> bool:
        epoch, value = trainer.current_epoch + 1, float(trainer.callback_metrics[self.objective])
        if epoch > self._last_epoch:
            self._trial.report(value, epoch)
        if epoch == trainer.max_epochs or not self._trial.should_prune():
            return False
        self._trial.study.tell(self.number, state=TrialState.PRUNED)
        log.info(f"pruned after epoch {epoch}: {self.objective} {value:.4f} is worse than that of the trials before")
        return True
