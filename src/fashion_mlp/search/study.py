"""Optuna's record of a search, in an SQLite file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.trial import Trial
from sqlalchemy.exc import SQLAlchemyError

from fashion_mlp.errors import UserError
from fashion_mlp.monitoring import OBJECTIVES, metric_direction

SQLITE = "sqlite:///"
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": MedianPruner,
    "hyperband": HyperbandPruner,
    "none": NopPruner,
}

ATTEMPT = "attempt"
"""Attribute of a trial: how often it was begun."""
PRUNED = "pruned"
"""Attribute of a trial: its run was ended early."""
ERROR = "error"
"""Attribute of a trial that failed: why."""


def database(storage: str) -> Path:
    """Return the file of a storage.

    Raises:
        UserError: it is none in SQLite: how a search goes on after a stop relies on being the only one at work on it.
    """
    if not storage.startswith(SQLITE) or storage == SQLITE:
        raise UserError(f"hydra.sweeper.storage={storage}: must be {SQLITE} and the path of a file")
    return Path(storage.removeprefix(SQLITE))


def open_study(storage: str, name: str, pruner: str) -> optuna.Study:
    """Open a study, or begin it.

    Raises:
        UserError: the file is no database, or cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize" if metric_direction(OBJECTIVES[0]) == "max" else "minimize",
            pruner=PRUNERS[pruner](),
            load_if_exists=True,
        )
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(f"hydra.sweeper.storage={storage}: cannot be opened: {str(error).splitlines()[0]}") from error


def ask(study: optuna.Study, seed: int) -> Trial:
    """Begin a trial, whose values are to be suggested next."""
    study.sampler = _sampler(seed, len(study.trials))
    return study.ask()


def ask_again(study: optuna.Study, seed: int, number: int) -> Trial:
    """Return a trial that was begun by a process that is gone; the values that it had are kept."""
    study.sampler = _sampler(seed, number)
    return Trial(study, trial_id(study, number))


def trial_id(study: optuna.Study, number: int) -> int:
    """Return what the storage calls a trial."""
    storage = study._storage
    study_id = storage.get_study_id_from_name(study.study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def _sampler(seed: int, number: int) -> TPESampler:
    # Seeded for each trial, so that a search that was stopped draws what it would have drawn without the stop, and
    # does not begin again with the values of its first trials.
    return TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
