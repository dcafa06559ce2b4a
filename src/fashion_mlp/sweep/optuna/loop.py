"""A search: started, or resumed where it was interrupted, until there are enough trials."""

import json
import logging
import math
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, Trial, TrialState

from fashion_mlp.config.monitoring import OBJECTIVES
from fashion_mlp.config.records import read_error
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import command
from fashion_mlp.runtime.signals import Interrupted
from fashion_mlp.sweep.optuna.space import Space
from fashion_mlp.sweep.optuna.study import ATTEMPT, ERROR, PRUNED, RepeatableSampler, open_study

log = logging.getLogger(__name__)

SQLITE = "sqlite:///"
# Attribute of a study: the overrides that it was begun with, by key.
SPACE = "space"
ENDS = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def search(config: DictConfig, arguments: Sequence[str], launcher: Launcher, loader: ConfigLoader) -> None:
    """Run trials until there are as many as `hydra.sweeper.n_trials`, and name the best.

    Args:
        config: of the sweep, composed by Hydra.
        arguments: the overrides of the command line, without those of Hydra's own keys.
        launcher: runs the jobs.
        loader: knows the options of config groups, for a sweep over a glob.

    Raises:
        UserError: the search cannot go on here, or no trial came to its end.
        Interrupted: by Ctrl-C or SIGTERM.
    """
    settings = config.hydra.sweeper
    typed = [f"{key}={value}" for key, value in settings.params.items()] + list(arguments)
    space = Space(OverridesParser.create(config_loader=loader).parse_overrides(typed))
    folder = Path(config.hydra.sweep.dir)
    if not settings.storage.startswith(SQLITE) or settings.storage == SQLITE:
        # A search is resumed on the assumption that it alone works on its database.
        raise UserError(f"hydra.sweeper.storage={settings.storage}: must be {SQLITE} and the path of a file")
    file = Path(settings.storage.removeprefix(SQLITE))
    hydras = [text for text in config.hydra.overrides.hydra if not text.startswith(("hydra.sweep.dir=", "hydra.mode="))]
    again = command([*arguments, *hydras, f"hydra.sweep.dir={folder}"])
    try:
        for needed in (folder, file.parent):
            needed.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=0):
            study = open_study(settings.storage, settings.study_name, settings.pruner)
            study.sampler = RepeatableSampler(settings.seed)
            _check_same(study, space, folder)
            OmegaConf.save(config, folder / "multirun.yaml")
            log.info(f"folder    {folder}\nresume    {again}")
            Search(study, space, folder, launcher, settings).run()
    except Timeout as error:
        raise UserError(f"{file}: another search is at work on it") from error
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written ({error.strerror}); set hydra.sweep.dir") from error
    except (KeyboardInterrupt, Interrupted) as error:
        signum = error.signum if isinstance(error, Interrupted) else signal.SIGINT
        raise Interrupted(signum, f"interrupted; go on with: {again}") from error


def _check_same(study: optuna.Study, space: Space, folder: Path) -> None:
    """Check that a study goes on with what it was begun with, and that the folder holds no other sweep.

    Raises:
        UserError: it would compare what cannot be compared, or mix two sweeps.
    """
    if not study.trials:
        if (folder / "0").exists():
            raise UserError(f"hydra.sweep.dir={folder}: holds another sweep already; name another folder")
        study.set_user_attr(SPACE, space.text)
        return
    before = study.user_attrs.get(SPACE, {})
    for key in {**before, **space.text}:
        if before.get(key) != space.text.get(key):
            raise UserError(
                f"{key}: the search in {folder} was begun with {before.get(key, 'its default')}; repeat that, or name "
                "another hydra.sweep.dir"
            )


@dataclass
class Search:
    """Trials of a study, one batch after the other.

    Args:
        study: where they are recorded.
        space: what they vary.
        folder: holds a folder for each trial, named by its number.
        launcher: runs the jobs.
        settings: the keys of `fashion_mlp.config.schema.SearchConfig`.
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
            reason = [read_error(self.folder / str(trial.number))]
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
