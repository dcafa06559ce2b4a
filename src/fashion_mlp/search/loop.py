"""Trials of a search, those that were interrupted first, until there are enough of them."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, Trial, TrialState

from fashion_mlp.errors import UserError
from fashion_mlp.monitoring import OBJECTIVES
from fashion_mlp.search.lines import command, counts, found, trial_line
from fashion_mlp.search.space import Space
from fashion_mlp.search.study import ATTEMPT, ERROR, PRUNED, RepeatableSampler, trial_id
from fashion_mlp.sweep.records import error_in

log = logging.getLogger(__name__)


class Search:
    """Trials of a study, one batch after the other.

    Args:
        study: where they are recorded.
        space: what they vary.
        folder: holds a folder for each trial, named by its number.
        launcher: runs the jobs.
        settings: the keys of `fashion_mlp.config.schema.SearchConfig`.
    """

    def __init__(
        self, study: optuna.Study, space: Space, folder: Path, launcher: Launcher, settings: DictConfig
    ) -> None:
        self.study = study
        study.sampler = RepeatableSampler(settings.seed)
        self.space = space
        self.folder = folder
        self.launcher = launcher
        self.settings = settings

    def run(self) -> None:
        """Take up what was interrupted, run what is missing, and name the best.

        Raises:
            UserError: no trial came to its end.
        """
        left = [trial for trial in self.study.trials if trial.state == TrialState.RUNNING]
        if self.study.trials:
            log.info(found(self._finished(), left))
        again = [trial for trial in map(self._taken_up, left) if trial is not None]
        n_jobs, n_trials = self.settings.n_jobs, self.settings.n_trials
        # All trials of a batch are drawn before any of them runs: draw the rest of one that was interrupted.
        while again and len(self.study.trials) % n_jobs and self._finished() + len(again) < n_trials:
            again.append(self._asked())
        for batch in batches(again, n_jobs):
            self._run(batch)
        while (missing := n_trials - self._finished()) > 0:
            self._run([self._asked() for _ in range(min(missing, n_jobs))])
        self._name_best()

    def _finished(self) -> int:
        return sum(trial.state.is_finished() for trial in self.study.trials)

    def _asked(self) -> Trial:
        return self._begun(self.study.ask(), attempt=1)

    def _taken_up(self, trial: FrozenTrial) -> Trial | None:
        """Begin a trial again that a killed process has left, or return None if its run is complete all the same."""
        again = Trial(self.study, trial_id(self.study, trial.number))
        folder = self.folder / str(trial.number)
        if (folder / "metrics.json").exists():
            self._tell(again, json.loads((folder / "metrics.json").read_text())[OBJECTIVES[0]])
            return None
        attempt = trial.user_attrs.get(ATTEMPT, 0)
        if folder.exists():
            folder.rename(folder.with_name(f"{trial.number}-interrupted-{attempt}"))
        return self._begun(again, attempt + 1)

    def _begun(self, trial: Trial, attempt: int) -> Trial:
        self.space.suggest(trial)
        trial.set_user_attr(ATTEMPT, attempt)
        return trial

    def _run(self, batch: Sequence[Trial]) -> None:
        jobs = [
            # A folder is named by its trial, whatever is configured.
            [*self.space.overrides(trial.params), f"hydra.sweep.subdir={trial.number}"]
            for trial in batch
        ]
        results = self.launcher.launch(jobs, initial_job_idx=batch[0].number)
        for trial, result in zip(batch, results, strict=True):
            self._tell(trial, float(result.return_value))

    def _tell(self, trial: Trial, objective: float) -> None:
        if math.isnan(objective):  # it failed
            trial.set_user_attr(ERROR, error_in(self.folder / str(trial.number)))
            self.study.tell(trial, state=TrialState.FAIL)
        elif self.study.trials[trial.number].user_attrs.get(PRUNED):
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, round(objective, 6))  # as in metrics.json
        log.info(trial_line(self.study.trials[trial.number], self._best(), self.space.searched(trial.params)))

    def _best(self) -> FrozenTrial | None:
        has_complete = any(trial.state == TrialState.COMPLETE for trial in self.study.trials)
        return self.study.best_trial if has_complete else None

    def _name_best(self) -> None:
        log.info(f"trials    {counts(self.study.trials)}")
        best = self._best()
        if best is None:
            raise UserError(f"{self.folder}: no trial came to its end; the line of each says why")
        log.info(f"best      {OBJECTIVES[0]} {best.value:.4f}, {self.folder / str(best.number)}")
        log.info(command(self.space.overrides(best.params, sweep=False)))


def batches(trials: Sequence[Trial], size: int) -> Iterator[Sequence[Trial]]:
    """Cut trials into batches of consecutive numbers, which is how a launcher numbers its jobs."""
    batch: list[Trial] = []
    for trial in trials:
        if batch and (len(batch) == size or trial.number != batch[-1].number + 1):
            yield batch
            batch = []
        batch.append(trial)
    if batch:
        yield batch
