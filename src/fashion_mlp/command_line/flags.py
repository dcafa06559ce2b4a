"""The flags of `python train.py`, which are Hydra's, told apart from the overrides."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple, NoReturn

from hydra._internal.utils import get_args_parser

from fashion_mlp.errors import UserError

FLAGS = ("--cfg", "--config-dir", "--config-name", "--help", "--info", "--multirun", "--package", "--resolve")
"""Those that one types."""
COMPLETIONS = ("install=", "uninstall=", "query=")
"""What Hydra does to a shell."""


class Resumption(NamedTuple):
    """What was typed to go on with a run or a sweep: `key=folder`, overrides of Hydra's own keys, and all others."""

    text: str
    folder: str
    hydras: list[str]
    others: list[str]
    multirun: bool


def parse(argv: Sequence[str]) -> Namespace:
    """Read a command line as Hydra does, but flags may stand among the overrides too.

    Raises:
        UserError: there is no such flag, or it lacks its value, or has a wrong one.
    """
    for text in argv:
        if text == "--":
            break
        if text.startswith("-") and (problem := _no_flag(text)):
            raise UserError(problem)
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # it would print its whole usage
    args = parser.parse_intermixed_args(list(argv))
    if args.resolve and not (args.cfg or args.help):
        raise UserError("--resolve: goes with --cfg, as in --cfg job --resolve")
    commands = [flag for flag in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(args, flag)]
    if len(commands) > 1:
        raise UserError(f"{' '.join(f'--{flag}' for flag in commands)}: only one of these at a time")
    if args.shell_completion and not any(text.startswith(COMPLETIONS) for text in args.overrides):
        raise UserError("--shell-completion: needs install=bash, uninstall=bash or query=bash")
    if args.experimental_rerun:
        raise UserError("--experimental-rerun: opens a pickle, which could execute code; type the overrides again")
    return args


def resumption(argv: Sequence[str], key: str) -> Resumption | None:
    """Return what a command line goes on with by a key; None if it does not, or only asks for information."""
    args = parse(argv)
    typed: list[str] = args.overrides
    named = [text for text in typed if text.startswith(f"{key}=") and text != f"{key}=null"]
    if not named or args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        return None
    hydras = [text for text in typed if text.startswith(("hydra.", "hydra/"))]
    others = [text for text in typed if text not in named and text not in hydras]
    return Resumption(named[-1], named[-1].partition("=")[2], hydras, others, args.multirun)


def first(argv: Sequence[str]) -> list[str]:
    """Return a command line with its flags before its overrides, where Hydra takes them."""
    overrides = parse(argv).overrides
    return [*(text for text in argv if text not in overrides and text != "--"), *overrides]


def _no_flag(text: str) -> str:
    """Return why an argument with a dash in front is no flag; nothing if it may be one."""
    parser = get_args_parser()
    name, has_value, value = text.partition("=")
    known = [option for action in parser._actions for option in action.option_strings]
    if name in known or (name.startswith("--") and any(option.startswith(name) for option in known)):
        return ""
    key = name.lstrip("-")
    alike = get_close_matches(name, FLAGS, n=1, cutoff=0.75)
    if alike:
        return f"{text}: no such flag; did you mean {alike[0]}?"
    return f"{text}: no such flag; keys are written without dashes, as in {key}={value if has_value else '...'}"


def _refuse(message: str) -> NoReturn:
    program = sys.argv[0].rpartition("/")[2] or "train.py"
    raise UserError(f"{message}; python {program} --help shows what there is")
