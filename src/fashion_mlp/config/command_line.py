"""The flags of `train.py`, which are Hydra's, and the directory `conf/` from which Hydra composes the configuration."""

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import NoReturn

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from fashion_mlp import __version__
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import expand_home

# The configuration, in the directory of the project.
CONF = Path(__file__).resolve().parents[3] / "conf"
# Flags that a mistyped one is compared with.
FLAGS = ("--cfg", "--config-dir", "--config-name", "--help", "--info", "--multirun", "--package", "--resolve")
# A quoted value, a list, a sweep, several values, or an interpolation that does not end. If Hydra cannot parse such a
# value, the user has made a mistake, and it is not quoted.
STRUCTURED = re.compile(r"""['"\[{]|(choice|glob|interval|range|shuffle|sort|tag)\(|.*,|.*\$\{[^}]*$""")


def parse_flags(argv: Sequence[str]) -> Namespace:
    """Parse a command line as Hydra does, but accept flags among the overrides.

    Raises:
        UserError: a flag is unknown, lacks its value or has an invalid one.
    """
    args, unknown = _create_parser().parse_known_intermixed_args(list(argv))
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


@cache
def _create_parser() -> ArgumentParser:
    if sys.version_info >= (3, 14):  # argparse refuses Hydra's help texts that are not strings
        ArgumentParser._check_help = lambda self, action: None
    parser = ArgumentParser(parents=[get_args_parser()], add_help=False, conflict_handler="resolve")
    parser.add_argument("--version", action="version", version=f"fashion-mlp {__version__}")
    parser.error = _refuse  # type: ignore[method-assign]  # it would print its whole usage
    return parser


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}. python train.py --help shows all options")


def normalize(argv: Sequence[str]) -> list[str]:
    """Return a command line with its flags first, where Hydra expects them, and values quoted by `quote_value`."""
    overrides = parse_flags(argv).overrides
    return [*(text for text in argv if text not in overrides and text != "--"), *map(quote_value, overrides)]


def parse_override(text: str) -> Override | None:
    """Return an override; None if Hydra cannot parse it."""
    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, ValueError, RecursionError):  # of Python: numbers too long, brackets too deep
        return None


def quote_value(text: str) -> str:
    """Expand `~` in an override, and quote a value that Hydra can parse only if it is quoted, such as `a(b)=é`."""
    key, _, value = text.partition("=")
    override = parse_override(text)
    parsed = override and override.value()
    if isinstance(parsed, str) and parsed.startswith("~"):
        value = parsed
    elif override or not value or STRUCTURED.match(value):
        return text
    quoted = f"{key}={hydra_quote(expand_home(value))}"
    return quoted if parse_override(quoted) else text


def hydra_quote(value: object) -> str:
    """Quote a text, such as a path, as a value for Hydra's override parser."""
    return '"' + re.sub(r'(\\*)("|$)', lambda match: 2 * match[1] + match[2].replace('"', '\\"'), str(value)) + '"'


def without_outputs(argv: Sequence[str]) -> list[str]:
    """Return a command line whose run writes no directory and no log, for all ranks of a run except the first.

    Hydra would create a directory for each process, named by the time. That of a resumed run exists; all ranks read it.
    """
    place = [] if any(text.startswith("resume=") for text in argv) else ["hydra.run.dir=."]
    return [*argv, *place, "hydra.output_subdir=null", "hydra/job_logging=none"]


@contextmanager
def initialize_hydra(config_path: str | None = None, config_dir: str | None = None) -> Iterator[None]:
    """Initialize Hydra within the block.

    Args:
        config_path: the directory of the configuration, relative to the project; None for `conf/`.
        config_dir: a directory with further options.

    Raises:
        UserError: there is no such directory, perhaps since the package is installed without `conf/`.
    """
    conf = CONF.parent / config_path if config_path else CONF
    if not conf.is_dir():
        raise UserError(f"{conf}: no such directory. Type python -m pip install -e . in that of the project")
    search_path = create_config_search_path(str(conf))
    if config_dir:
        if not Path(config_dir).is_dir():
            raise UserError(f"--config-dir {config_dir}: no such directory")
        search_path.prepend("command-line", f"file://{Path(config_dir).resolve()}")
    version.setbase("1.3")  # as in `train.py`; an older one would change the working directory
    Hydra.create_main_hydra2("train", search_path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def list_options() -> str:
    """Return a line for each config group with its options, for `--help`; files such as `_base.yaml` are no options."""
    groups = {path.name: sorted(file.stem for file in path.glob("[!_]*.yaml")) for path in sorted(CONF.iterdir())}
    return "\n".join(f"  {group:<11} {', '.join(options)}" for group, options in groups.items() if options)


OmegaConf.register_new_resolver("list_options", list_options)
