"""Parse the command line of `train.py`, and check its configuration before torch is imported and anything is created.

A command line consists of flags, which are Hydra's, and overrides.
"""

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion_mlp.config.check import find_problems
from fashion_mlp.config.explain import check_options, explain
from fashion_mlp.config.paths import find_obstacle
from fashion_mlp.runtime.errors import UserError, exit_on_user_error
from fashion_mlp.runtime.ranks import is_rank_zero
from fashion_mlp.runtime.run_directory import CHECKPOINTS, explain_existing_run

# The configuration, in the directory of the project.
CONF = Path(__file__).resolve().parents[3] / "conf"
# Flags that a mistyped one is compared with.
FLAGS = ("--cfg", "--config-dir", "--config-name", "--help", "--info", "--multirun", "--package", "--resolve")
# The environment variable with which Hydra raises an error of composition instead of printing it.
FULL_ERROR = "HYDRA_FULL_ERROR"
_full_error_before = os.environ.get(FULL_ERROR)


def parse_flags(argv: Sequence[str]) -> Namespace:
    """Parse a command line as Hydra does, but accept flags among the overrides.

    Raises:
        UserError: a flag is unknown, lacks its value or has an invalid one.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # it would print its whole usage
    args, unknown = parser.parse_known_intermixed_args(list(argv))
    for text in unknown:
        name, _, value = text.partition("=")
        similar = get_close_matches(name, FLAGS, n=1, cutoff=0.75)
        key = f"a key has no dashes. Type {name.lstrip('-')}={value or '...'}"
        raise UserError(f"{text}: no such flag; {f'did you mean {similar[0]}?' if similar else key}")
    if args.shell_completion and not args.overrides:
        raise UserError("--shell-completion: no action. Type install=bash, uninstall=bash or query=bash")
    if args.experimental_rerun:
        raise UserError("--experimental-rerun: reads a pickle, which could execute code. Type the overrides again")
    return args


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}. python train.py --help shows all options")


def flags_first(argv: Sequence[str]) -> list[str]:
    """Return a command line with its flags before its overrides, where Hydra expects them."""
    overrides = parse_flags(argv).overrides
    return [*(text for text in argv if text not in overrides and text != "--"), *overrides]


def without_outputs(argv: Sequence[str]) -> list[str]:
    """Return a command line whose run writes no directory and no log, for all ranks of a run except the first.

    Hydra would create a directory for each process, named by the time.
    """
    # Lightning appends overrides to the command line of a process that it starts.
    return [*flags_first(argv), "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]


def list_options() -> str:
    """Return a line for each config group with its options, for `--help`; files such as `_base.yaml` are no options."""
    groups = {path.name: sorted(file.stem for file in path.glob("[!_]*.yaml")) for path in sorted(CONF.iterdir())}
    return "\n".join(f"  {group:<11} {', '.join(options)}" for group, options in groups.items() if options)


OmegaConf.register_new_resolver("list_options", list_options)


class CheckConfig(Callback):
    """Check the configuration of a run, or of each job of a sweep."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _restore_full_error()
        with exit_on_user_error():
            check_run(config, _overrides(config))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _restore_full_error()
        with exit_on_user_error():
            lines = explain(_overrides(config), multirun=True, config_name=config.hydra.job.config_name)
            raise_problems([*_directory_problems(config, "hydra.sweep.dir"), *lines])


def _overrides(config: DictConfig) -> list[str]:
    overrides: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    return [*overrides["hydra"], *overrides["task"]]


def check_run(config: DictConfig, overrides: Sequence[str]) -> None:
    """Check the composed configuration of a single run.

    Raises:
        UserError: with a line for each mistake.
    """
    _, _, lines = check_options(overrides)
    raise_problems(lines or [*_directory_problems(config, "hydra.run.dir"), *find_problems(config)])


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
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:  # Hydra raises errors of many types, and prints those of the run itself
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


def _directory_problems(config: DictConfig, key: str) -> Iterator[str]:
    """Yield why the directory of a run or sweep cannot be created."""
    if not is_rank_zero():
        return
    try:
        text = OmegaConf.select(config, key)
    except OmegaConfBaseException as error:
        yield f"{key}: cannot be resolved: {str(error).splitlines()[0]}"
        return
    directory = Path(text)
    if not text.strip():
        yield f"{key}=: invalid value. Expected the path of a directory; is a shell variable empty?"
    elif problem := find_obstacle(directory):
        yield f"{key}={directory}: {problem}"
    elif key == "hydra.run.dir" and config.get("resume") is None and (directory / CHECKPOINTS).exists():
        yield f"{key}={directory}: {explain_existing_run(directory)}"
