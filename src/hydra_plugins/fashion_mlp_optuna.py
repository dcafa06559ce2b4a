"""The Hydra sweeper of `sweep=optuna`.

Hydra finds plugins only in the package `hydra_plugins`, and imports the whole package whenever it starts. So Optuna is
imported only when a search starts.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fashion_mlp.runtime.errors import UserError, exit_on_user_error


class OptunaSweeper(Sweeper):
    """A sweeper that launches jobs with the configurations that Optuna suggests.

    Args:
        **settings: the keys of `fashion_mlp.config.schema.SearchConfig`, which are read from the configuration.
    """

    def __init__(self, **settings: Any) -> None:
        self.launcher = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config_loader = hydra_context.config_loader
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        assert self.config is not None
        assert self.launcher is not None
        with exit_on_user_error():
            try:
                from fashion_mlp.sweep.optuna.loop import search
            except ModuleNotFoundError as error:
                if error.name != "optuna":
                    raise
                raise UserError("sweep=optuna: needs Optuna. Type python -m pip install -e '.[sweep]'") from error
            search(self.config, arguments, self.launcher, self.config_loader)
