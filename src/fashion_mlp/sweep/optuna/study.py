"""Optuna's record of a search, in an SQLite file."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from fashion_mlp.runtime.errors import UserError

PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": MedianPruner,
    "hyperband": HyperbandPruner,
    "none": NopPruner,
}

# Attribute of a trial: how often it was begun.
ATTEMPT = "attempt"
# Attribute of a trial: its run was ended early.
PRUNED = "pruned"
# Attribute of a trial that failed: why.
ERROR = "error"


class RepeatableSampler(TPESampler):
    """TPE with a seed for each draw, so that a search that was interrupted draws what it would have drawn.

    Args:
        seed: of the search.
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


def open_study(storage: str, name: str, pruner: str) -> optuna.Study:
    """Open a study of the validation accuracy, or create it.

    Raises:
        UserError: the file is no database, or cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            pruner=PRUNERS[pruner](),
            load_if_exists=True,
        )
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(f"hydra.sweeper.storage={storage}: cannot be opened: {str(error).splitlines()[0]}") from error
