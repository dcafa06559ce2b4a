"""A trial as its own job sees it, in whatever process that runs."""

from fashion_mlp.errors import UserError
from fashion_mlp.search.study import ATTEMPT, PRUNED, open_study


class RunningTrial:
    """A trial that is under way, found by its storage, study and number.

    Args:
        storage: URL of the study's database.
        study_name: which study there.
        number: of the trial.
        pruner: one of `fashion_mlp.config.PRUNERS`.
    """

    def __init__(self, storage: str, study_name: str, number: int, pruner: str) -> None:
        self.number = number
        self._study = open_study(storage, study_name, pruner)
        self._storage = self._study._storage
        trial = self._study.trials[number]
        self._id, self._attempt = trial._trial_id, trial.user_attrs[ATTEMPT]

    def report(self, epoch: int, value: float) -> None:
        """Record the value after an epoch.

        Raises:
            UserError: the search was killed and goes on in another process, and this job is left over.
        """
        trial = self._storage.get_trial(self._id)
        if trial.state.is_finished() or trial.user_attrs[ATTEMPT] != self._attempt:
            raise UserError(f"trial {self.number}: another process has taken it up again")
        self._storage.set_trial_intermediate_value(self._id, epoch, value)

    def is_hopeless(self, epoch: int) -> bool:
        """Return whether the pruner gives the trial up after an epoch."""
        trial = self._storage.get_trial(self._id)
        # Without the later epochs of an attempt that was killed.
        trial.intermediate_values = {step: value for step, value in trial.intermediate_values.items() if step <= epoch}
        return self._study.pruner.prune(self._study, trial)

    def mark_pruned(self) -> None:
        """Note that the run ends early, for the process that tells the study how it ended."""
        self._storage.set_trial_user_attr(self._id, PRUNED, True)
