"""The Hydra launcher of `hydra/launcher=process`. Hydra finds plugins only in the package `hydra_plugins`."""

from hydra._internal.core_plugins.basic_launcher import BasicLauncher


class ProcessLauncher(BasicLauncher):
    """Hydra's own launcher, for jobs that `fashion_mlp.sweep.job.run_job` runs in processes of their own.

    Args:
        command: runs `train.py`; `run_job` reads it from the configuration.
    """

    def __init__(self, command: str | None) -> None:
        super().__init__()
        self.command = command
