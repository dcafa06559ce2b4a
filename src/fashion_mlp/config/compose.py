"""The Hydra callback that checks a configuration, before torch is imported and before a directory is created."""

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion_mlp.config.check import find_problems
from fashion_mlp.config.command_line import parse_flags
from fashion_mlp.config.explain import check_options, explain
from fashion_mlp.config.messages import format_value
from fashion_mlp.config.paths import find_obstacle
from fashion_mlp.runtime.errors import UserError, exit_on_user_error
from fashion_mlp.runtime.ranks import is_rank_zero
from fashion_mlp.runtime.run_directory import CHECKPOINTS, explain_existing_run

# The configuration, in the directory of the project.
CONF = Path(__file__).resolve().parents[3] / "conf"
# The environment variable with which Hydra raises an error of composition instead of printing it.
FULL_ERROR = "HYDRA_FULL_ERROR"
_full_error_before = os.environ.get(FULL_ERROR)


def list_options() -> str:
    """Return a line for each config group with its options, for `--help`; `_base` and the like are not options."""
    groups = {path.name: sorted(file.stem for file in path.glob("[!_]*.yaml")) for path in sorted(CONF.iterdir())}
    return "\n".join(f"  {group:<11} {', '.join(options)}" for group, options in groups.items() if options)


OmegaConf.register_new_resolver("list_options", list_options)


class CheckConfig(Callback):
    """Checks the configuration of a run, or of each job of a sweep."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _restore_full_error()
        with exit_on_user_error():
            _, _, lines = check_options(_overrides(config))
            raise_problems(lines or [*directory_problems(config, "hydra.run.dir"), *find_problems(config)])

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _restore_full_error()
        with exit_on_user_error():
            lines = explain(_overrides(config), multirun=True, config_name=config.hydra.job.config_name)
            raise_problems([*directory_problems(config, "hydra.sweep.dir"), *lines])


def _overrides(config: DictConfig) -> list[str]:
    overrides: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    return [*overrides["hydra"], *overrides["task"]]


def raise_problems(lines: Sequence[str]) -> None:
    """Raise a `UserError` if there are mistakes."""
    if lines:
        raise UserError(*lines)


@contextmanager
def explain_composition(argv: Sequence[str]) -> Iterator[None]:
    """Explain why Hydra could not compose the configuration within the block.

    Args:
        argv: the command line; if it only asks for the configuration, it is checked first, since no callback is called.

    Raises:
        UserError: with a line for each cause.
    """
    args = parse_flags(argv)
    if args.config_dir and not Path(args.config_dir).is_dir():
        raise UserError(f"--config-dir {args.config_dir}: no such directory")
    if (args.cfg or args.info) and not args.config_path:
        raise_problems(_explain(args))
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    except Exception as error:  # Hydra raises errors of many types, and prints those of the run itself
        if isinstance(error, UserError | BrokenPipeError):
            raise
        lines = [] if args.config_path else _explain(args)
        raise UserError(*(lines or [" ".join(str(error).split())])) from error
    finally:
        _restore_full_error()


def _explain(args: Namespace) -> list[str]:
    with initialize_hydra(args.config_dir):
        return explain(args.overrides, multirun=args.multirun, config_name=args.config_name or "train")


@contextmanager
def initialize_hydra(config_dir: str | None = None) -> Iterator[None]:
    """Initialize Hydra within the block with `conf/` and, if given, one more directory.

    Raises:
        UserError: the package is installed without `conf/`.
    """
    if not CONF.is_dir():
        raise UserError(f"{CONF}: no such directory. Type python -m pip install -e . in that of the project")
    search_path = create_config_search_path(str(CONF))
    if config_dir:
        search_path.prepend("command-line", f"file://{Path(config_dir).resolve()}")
    Hydra.create_main_hydra2("train", search_path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def _restore_full_error() -> None:
    os.environ.pop(FULL_ERROR, None)
    if _full_error_before is not None:
        os.environ[FULL_ERROR] = _full_error_before


def directory_problems(config: DictConfig, key: str) -> Iterator[str]:
    """Yield why the directory of a run or sweep cannot be created."""
    if not is_rank_zero():
        return
    try:
        directory = OmegaConf.select(config, key)
    except OmegaConfBaseException as error:
        yield f"{key}: cannot be resolved: {str(error).splitlines()[0]}"
        return
    if not isinstance(directory, str) or not directory.strip():
        yield f"{key}={format_value(directory)}: invalid value. Expected the path of a directory"
    elif obstacle := find_obstacle(Path(directory)):
        yield f"{key}={directory}: {obstacle}"
    elif key == "hydra.run.dir" and config.get("resume") is None and Path(directory, CHECKPOINTS).exists():
        yield f"{key}={directory}: {explain_existing_run(directory)}"
