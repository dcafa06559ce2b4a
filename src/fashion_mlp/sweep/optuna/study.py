"""The Optuna study of a search, in an SQLite file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from hydra.utils import to_absolute_path
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import Trial
from sqlalchemy.exc import SQLAlchemyError

from fashion_mlp.config.monitoring import metric_direction
from fashion_mlp.runtime.errors import UserError

# The names of the file, in the directory of the sweep, and of the study in the file.
FILE = "study.db"
STUDY = "fashion-mlp"
PRUNERS: dict[str, Callable[[], BasePruner]] = {"median": MedianPruner, "hyperband": HyperbandPruner, "none": NopPruner}


def make_sampler(seed: int, number: int) -> TPESampler:
    """Return a sampler with its own seed for a trial, so a resumed search draws the values of an uninterrupted one.

    Args:
        seed: seed of the search.
        number: number of the trial.
    """
    return TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def open_storage(sweep_dir: str | Path) -> RDBStorage:
    """Open the database in the directory of a sweep, or create it.

    Raises:
        UserError: the file is not a database, or cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = Path(to_absolute_path(str(sweep_dir)), FILE)
    try:
        return RDBStorage(f"sqlite:///{file}")
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
