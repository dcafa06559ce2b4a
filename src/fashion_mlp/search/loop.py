"""Trials of a search, those that were interrupted first, until there are enough of them."""

import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import optuna
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, Trial, TrialState

from fashion_mlp.errors import UserError
from fashion_mlp.monitoring import OBJECTIVES
from fashion_mlp.run_directory import command
from fashion_mlp.search.space import Space
from fashion_mlp.search.study import ATTEMPT, ERROR, PRUNED
from fashion_mlp.sweep.records import error_in

log = logging.getLogger(__name__)

ENDS = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass
class Search:
    """Trials of a study, one batch after the other.

    Args:
        study: where they are recorded.
        space: what they vary.
        folder: holds a folder for each trial, named by its number.
        launcher: runs the jobs.
        settings: the keys of `fashion_mlp.config.SearchConfig`.
    """

    study: optuna.Study
    space: Space
    folder: Path
    launcher: Launcher
    settings: DictConfig

    def run(self) -> None:
        """Resume the trials that were interrupted, run those that are missing, and name the best.

        Raises:
            UserError: no trial came to its end.
        """
        interrupted = [trial for trial in self.study.trials if trial.state == TrialState.RUNNING]
        if self.study.trials:
            numbers = ", ".join(str(trial.number) for trial in interrupted)
            begun = f"; begun and interrupted: {numbers}" if numbers else ""
            log.info(f"found     {self._finished()} finished{begun}")
        again = [trial for trial in map(self._resume_trial, interrupted) if trial is not None]
        n_jobs, n_trials = self.settings.n_jobs, self.settings.n_trials
        # All trials of a batch are drawn before any of them runs: draw the rest of one that was interrupted.
        while again and len(self.study.trials) % n_jobs and self._finished() + len(again) < n_trials:
            again.append(self._new_trial())
        for batch in consecutive(again):
            self._run(batch)
        while (missing := n_trials - self._finished()) > 0:
            self._run([self._new_trial() for _ in range(min(missing, n_jobs))])
        states = Counter(trial.state for trial in self.study.trials)
        log.info(f"trials    {', '.join(f'{states[state]} {word}' for state, word in ENDS.items())}")
        best = self._best()
        if best is None:
            raise UserError(f"{self.folder}: no trial came to its end; the line of each says why")
        log.info(f"best      {OBJECTIVES[0]} {best.value:.4f}, {self.folder / str(best.number)}")
        log.info(command(self.space.overrides(best.params, sweep=False)))

    def _finished(self) -> int:
        return sum(trial.state.is_finished() for trial in self.study.trials)

    def _best(self) -> FrozenTrial | None:
        has_complete = any(trial.state == TrialState.COMPLETE for trial in self.study.trials)
        return self.study.best_trial if has_complete else None

    def _new_trial(self) -> Trial:
        return self._draw(self.study.ask(), attempt=1)

    def _resume_trial(self, trial: FrozenTrial) -> Trial | None:
        """Restart a trial that a killed process has left, or return None if its run is complete all the same."""
        again = Trial(self.study, trial._trial_id)
        folder = self.folder / str(trial.number)
        if (folder / "metrics.json").exists():
            self._tell(again, json.loads((folder / "metrics.json").read_text())[OBJECTIVES[0]])
            return None
        attempt = trial.user_attrs.get(ATTEMPT, 0)
        if folder.exists():
            folder.rename(folder.with_name(f"{trial.number}-interrupted-{attempt}"))
        return self._draw(again, attempt + 1)

    def _draw(self, trial: Trial, attempt: int) -> Trial:
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
        """Record how a trial ended, and log it with the best until now and what it ran with."""
        reason, pruned = [], self.study.trials[trial.number].user_attrs.get(PRUNED)
        if math.isnan(objective):
            reason = [error_in(self.folder / str(trial.number))]
            trial.set_user_attr(ERROR, reason[0])
            ended = self.study.tell(trial, state=TrialState.FAIL)
            result = "failed"
        elif pruned:
            ended = self.study.tell(trial, state=TrialState.PRUNED)
            result = f"pruned, {ended.value:.4f} at epoch {ended.last_step}"
        else:
            ended = self.study.tell(trial, round(objective, 6))  # as in metrics.json
            result = f"{OBJECTIVES[0]} {ended.value:.4f}"
        best = self._best()
        shown = f"best {best.value:.4f} (trial {best.number})" if best else "no best yet"
        parts = [f"trial {trial.number:>3}", f"{result:<25}", shown, " ".join(self.space.searched(trial.params))]
        log.info("   ".join(parts + reason))


def consecutive(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Split trials into batches of consecutive numbers, which is how a launcher numbers its jobs."""
    groups = groupby(enumerate(trials), lambda indexed: indexed[1].number - indexed[0])
    return [[trial for _, trial in group] for _, group in groups]
