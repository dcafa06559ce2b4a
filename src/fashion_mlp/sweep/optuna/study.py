"""The Optuna study of a search, in an SQLite file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.utils import to_absolute_path
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial
from sqlalchemy.exc import SQLAlchemyError

from fashion_mlp.runtime.errors import UserError

# The names of the file, in the directory of the sweep, and of the study in the file.
FILE = "study.db"
STUDY = "fashion-mlp"
PRUNERS: dict[str, Callable[[], BasePruner]] = {"median": MedianPruner, "hyperband": HyperbandPruner, "none": NopPruner}


class RepeatableSampler(TPESampler):
    """TPE with its own seed for each value, so a resumed search draws the same values as an uninterrupted one.

    Args:
        seed: seed of the search.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, trial: FrozenTrial, name: str = "") -> TPESampler:
        entropy = [self.seed, trial.number, *name.encode()]
        return TPESampler(seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]))


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


def open_study(storage: RDBStorage, pruner: str) -> optuna.Study:
    """Open the study of the validation accuracy, or create it."""
    return optuna.create_study(
        storage=storage, study_name=STUDY, direction="maximize", pruner=PRUNERS[pruner](), load_if_exists=True
    )


def open_trial(storage: RDBStorage, pruner: str, number: int) -> Trial:
    """Open a trial that the process of the search has started."""
    study_id = storage.get_study_id_from_name(STUDY)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    return Trial(open_study(storage, pruner), trial_id)
