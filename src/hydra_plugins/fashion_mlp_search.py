"""The Hydra sweeper of `sweep=optuna`.

Hydra takes plugins from the package `hydra_plugins` only, and imports all of it whenever it starts: so this is no more
than a door, and Optuna is loaded when a search begins.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fashion_mlp.runtime.errors import UserError, exit_on_user_error


class OptunaSweeper(Sweeper):
    """Asks Optuna for configurations, and launches a job for each.

    Args:
        **settings: the keys of `fashion_mlp.config.schema.SearchConfig`; they are read from the configuration.
    """

    def __init__(self, **settings: Any) -> None:
        self.hydra_context = None
        self.config = None
        self.launcher = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        with exit_on_user_error():
            try:
                from fashion_mlp.sweep.optuna import search
            except ModuleNotFoundError as error:
                if error.name != "optuna":
                    raise
                raise UserError("sweep=optuna: needs Optuna: python -m pip install -e '.[sweep]'") from error
            search(self.config, arguments, self.launcher, self.hydra_context.config_loader)
