"""The Hydra sweeper of `sweep=optuna`.

Hydra finds plugins only in the package `hydra_plugins`, and imports the whole package whenever it starts. So Optuna is
imported only when a search starts.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from fashion_mlp.runtime.errors import UserError, exit_on_user_error


class OptunaSweeper(BasicSweeper):
    """A sweeper that launches jobs with the configurations that Optuna suggests.

    Args:
        **settings: the keys of `fashion_mlp.config.schema.SearchConfig`, which are read from the configuration.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(max_batch_size=None)

    def sweep(self, arguments: Sequence[str]) -> None:
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        with exit_on_user_error():
            try:
                from fashion_mlp.sweep.optuna.loop import search
            except ModuleNotFoundError as error:
                if error.name != "optuna":
                    raise
                raise UserError("sweep=optuna: needs Optuna. Type python -m pip install -e '.[sweep]'") from error
            search(self.config, arguments, self.launcher, self.hydra_context.config_loader)
