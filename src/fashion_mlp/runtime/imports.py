"""The import of torch, which takes seconds and, with CUDA, gigabytes of address space."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from fashion_mlp.runtime.errors import exit_on_user_error
from fashion_mlp.runtime.oom import explain_oom
from fashion_mlp.runtime.signals import exit_at_once


@contextmanager
def importing_torch() -> Iterator[None]:
    """Import modules that need torch within the block; Ctrl-C ends the process at once.

    Raises:
        UserError: there is too little memory.
    """
    with exit_at_once(), explain_oom("torch cannot be loaded; free memory, or raise its limit (ulimit -v)"):
        yield


class ImportModule(Callback):
    """Import a module before Hydra creates the run directory, so that nothing is left if the import fails.

    Args:
        module: its name. It may need torch.
    """

    def __init__(self, module: str) -> None:
        self.module = module

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.resume is None:  # a complete run does not need it
            with exit_on_user_error(), importing_torch():
                import_module(self.module)
