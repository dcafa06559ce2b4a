"""A trial of a search ends early when it promises nothing. Needs the extra `sweep`."""

import logging
from functools import partial

from lightning import Callback, LightningModule, Trainer

from fashion_mlp.config.monitoring import OBJECTIVES
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.sweep.optuna.study import ATTEMPT, PRUNED, open_study

log = logging.getLogger(__name__)


class Pruning(Callback):
    """Report the objective to Optuna after each epoch, and end the training when its pruner gives the trial up.

    A run that is given up ends like one that has come to its last epoch, with its checkpoint and `metrics.json`.

    Args:
        storage: URL of the study's database.
        study_name: which study there.
        number: of the trial.
        pruner: "median", "hyperband" or "none".
    """

    def __init__(self, storage: str, study_name: str, number: int, pruner: str) -> None:
        self.number = number
        self._open_study = partial(open_study, storage, study_name, pruner)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:  # the other processes do not use the database
            self.find_trial()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        given_up = trainer.is_global_zero and self._is_given_up(trainer)
        if trainer.strategy.reduce_boolean_decision(given_up, all=False):
            trainer.should_stop = True

    def find_trial(self) -> None:
        """Find the trial in its study."""
        self._study = self._open_study()
        self._storage = self._study._storage
        trial = self._study.trials[self.number]
        self._id, self._attempt = trial._trial_id, trial.user_attrs[ATTEMPT]

    def report(self, epoch: int, value: float) -> None:
        """Record the objective after an epoch.

        Raises:
            UserError: the search was killed and was resumed by another process, and this job is left over.
        """
        trial = self._storage.get_trial(self._id)
        if trial.state.is_finished() or trial.user_attrs[ATTEMPT] != self._attempt:
            raise UserError(f"trial {self.number}: another process has taken it up again")
        # Unlike `Trial.report`, this replaces the value of an attempt that was killed.
        self._storage.set_trial_intermediate_value(self._id, epoch, value)

    def is_hopeless(self, epoch: int) -> bool:
        """Return whether the pruner gives the trial up after an epoch; later epochs are those of a killed attempt."""
        trial = self._storage.get_trial(self._id)
        trial.intermediate_values = {step: value for step, value in trial.intermediate_values.items() if step <= epoch}
        return self._study.pruner.prune(self._study, trial)

    def mark_pruned(self) -> None:
        """Note that the run ends early, for the process that tells the study how it ended."""
        self._storage.set_trial_user_attr(self._id, PRUNED, True)

    def _is_given_up(self, trainer: Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        value = float(trainer.callback_metrics[OBJECTIVES[0]])
        self.report(epoch, value)
        if epoch == trainer.max_epochs or not self.is_hopeless(epoch):
            return False
        self.mark_pruned()
        log.info(f"pruned after epoch {epoch}: {OBJECTIVES[0]} {value:.4f} promises less than the trials before")
        return True
