"""Start or resume a search, whose trials are in an SQLite file, and run trials until there are enough."""

import logging
import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from fashion_mlp.config.monitoring import metric_direction
from fashion_mlp.config.overrides import search_space
from fashion_mlp.config.records import SWEEP_CONFIG
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import lock, resolve
from fashion_mlp.sweep.job import read_error
from fashion_mlp.sweep.optuna.space import Space

log = logging.getLogger(__name__)

# The names of the file, in the directory of the sweep, and of the study in the file.
FILE = "study.db"
STUDY = "fashion-mlp"
PRUNERS: dict[str, Callable[[], BasePruner]] = {"median": MedianPruner, "hyperband": HyperbandPruner, "none": NopPruner}
EXAMPLE = "'model.KEY=interval(0, 0.5)'"
FINISHED = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def search(config: DictConfig, arguments: Sequence[str], launcher: Launcher, loader: ConfigLoader) -> None:
    """Run trials until there are `hydra.sweeper.n_trials`, and log the best one.

    Args:
        config: the configuration of the sweep, composed by Hydra.
        arguments: the overrides of the command line, without those of Hydra's own keys.
        launcher: launcher of Hydra; runs the jobs.
        loader: finds the options of config groups, for a sweep over a glob.

    Raises:
        UserError: the space or its database is invalid, or no trial is complete.
    """
    settings = config.hydra.sweeper
    default, missing = search_space(config)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*default, *arguments])
    space = Space(overrides, has_layers="hidden_sizes" in config.model)
    directory = Path(config.hydra.sweep.dir)
    with lock(resolve(directory)):
        study = open_study(open_storage(directory), settings.pruner, config.objective)
        OmegaConf.save(config, directory / SWEEP_CONFIG)
        log.info(f"sweep     {directory}")
        if absent := [key for key in missing if key not in space.distributions]:
            log.info(f"not varied, since not in the configuration: {', '.join(absent)}. Vary a key with {EXAMPLE}")
        trials = Search(study, config.objective, settings.seed, space, directory, launcher)
        trials.run(settings.n_trials, settings.n_jobs)


@dataclass
class Search:
    """The trials of a study, in batches.

    Args:
        study: the trials, in an SQLite file.
        objective: the metric that the trials are compared by.
        seed: determines the values of the trials.
        space: the keys that the trials vary.
        directory: holds a directory for each trial, named by its number.
        launcher: launcher of Hydra; runs the jobs.
    """

    study: optuna.Study
    objective: str
    seed: int
    space: Space
    directory: Path
    launcher: Launcher

    def run(self, n_trials: int, n_jobs: int) -> None:
        """Run the trials that were interrupted and those that are missing, and log the best.

        Args:
            n_trials: in all, including those before an interruption.
            n_jobs: the size of a batch. All of its trials are drawn before one of them runs.

        Raises:
            UserError: no trial is complete.
        """
        self._check_interrupted_trials()
        while batch := self._next_batch(n_trials, n_jobs):
            self._run(batch)
        states = Counter(trial.state for trial in self.study.trials)
        log.info(f"trials    {', '.join(f'{states[state]} {name}' for state, name in FINISHED.items())}")
        best = self._best()
        if best is None:
            raise UserError(f"{self.directory}: no trial is complete; the line of each trial has the reason")
        log.info(f"best      {self.objective} {best.value:.4f}, {self.directory / str(best.number)}")
        shared = [text for text in self.space.fixed if not text.startswith("sweep=")]
        log.info(shlex.join(["python", "train.py", *shared, *self.space.trial_overrides(best.params)]))

    def _check_interrupted_trials(self) -> None:
        """Check that the jobs of an interrupted process have ended; mark trials that it has not drawn as failed.

        Raises:
            UserError: a job of that process still runs.
        """
        for trial in self.study.get_trials(states=[TrialState.RUNNING]):
            with lock(resolve(self.directory / str(trial.number))):
                if not self._is_drawn(trial):
                    self.study.tell(trial.number, state=TrialState.FAIL)

    def _next_batch(self, n_trials: int, n_jobs: int) -> list[BaseTrial]:
        """Return the trials of an interrupted process and those that complete their batch, or a batch of new trials."""
        interrupted = self.study.get_trials(states=[TrialState.RUNNING])
        missing = n_trials - sum(map(self._is_drawn, self.study.trials))
        # An interrupted batch is completed first, so that a resumed search draws what it would have drawn.
        size = -len(self.study.trials) % n_jobs if interrupted else n_jobs
        return [*interrupted, *(self._draw() for _ in range(min(size, missing)))]

    def _draw(self) -> Trial:
        # A seed for each trial, so that a resumed search draws the values of an uninterrupted one.
        seed = np.random.SeedSequence([self.seed, len(self.study.trials)]).generate_state(1)[0]
        self.study.sampler = TPESampler(seed=int(seed))
        return self.study.ask(self.space.distributions)

    def _is_drawn(self, trial: FrozenTrial) -> bool:
        """Return False for a trial that was interrupted while its values were drawn; another takes its place."""
        return trial.params.keys() == self.space.distributions.keys()

    def _best(self) -> FrozenTrial | None:
        return next(iter(self.study.best_trials), None)

    def _run(self, trials: Sequence[BaseTrial]) -> None:
        # Each trial has its own directory, also if the user has configured another subdir.
        jobs = [
            [*self.space.fixed, *self.space.trial_overrides(trial.params), f"hydra.sweep.subdir={trial.number}"]
            for trial in trials
        ]
        results = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
        for trial, result in zip(trials, results, strict=True):
            self._tell(trial.number, float(result.return_value))

    def _tell(self, number: int, objective: float) -> None:
        """Record the result of a trial, unless its job has recorded that it was pruned, and log it."""
        failed = math.isnan(objective)
        value, state = (None, TrialState.FAIL) if failed else (round(objective, 6), None)  # as in metrics.json
        trial = self.study.tell(number, value, state, skip_if_finished=True)
        if trial.state == TrialState.PRUNED:
            result = f"pruned, {trial.value:.4f} at epoch {trial.last_step}"
        else:
            result = "failed" if failed else f"{self.objective} {trial.value:.4f}"
        best = self._best()
        best_result = f"best {best.value:.4f} (trial {best.number})" if best else "no best yet"
        overrides = " ".join(self.space.trial_overrides(trial.params))
        error = [read_error(self.directory / str(number))] if failed else []
        log.info("   ".join([f"trial {number:>3}", f"{result:<25}", best_result, overrides, *error]))


def open_storage(sweep_dir: str | Path) -> RDBStorage:
    """Open the database in the directory of a sweep, or create it.

    Raises:
        UserError: the file is not a database, or cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = resolve(sweep_dir) / FILE
    try:
        # Without a pool, since Optuna does not close the connections in it.
        return RDBStorage(f"sqlite:///{file}", engine_kwargs={"poolclass": NullPool})
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(f"{file}: cannot be opened: {str(error).splitlines()[0]}") from error


def open_study(storage: RDBStorage, pruner: str, objective: str) -> optuna.Study:
    """Open the study of an objective, or create it."""
    return optuna.create_study(
        storage=storage,
        study_name=STUDY,
        direction="minimize" if metric_direction(objective) == "min" else "maximize",
        pruner=PRUNERS[pruner](),
        load_if_exists=True,
    )


def open_trial(storage: RDBStorage, pruner: str, number: int) -> Trial:
    """Open a trial that the process of the search has started."""
    study_id = storage.get_study_id_from_name(STUDY)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    return Trial(optuna.load_study(study_name=STUDY, storage=storage, pruner=PRUNERS[pruner]()), trial_id)
