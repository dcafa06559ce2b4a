"""Parse the command line of `train.py`: flags, which are Hydra's, and overrides."""

import re
import shlex
from argparse import Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from fashion_mlp.runtime.errors import UserError

# Flags that a mistyped one is compared with.
FLAGS = ("--cfg", "--config-dir", "--config-name", "--help", "--info", "--multirun", "--package", "--resolve")
# Actions of `--shell-completion`.
COMPLETIONS = ("install=", "uninstall=", "query=")
# Most values of one key in a sweep.
MAX_VALUES = 10_000
UNPARSED = "cannot be parsed. Expected key=value"
# Most arguments that are joined to one override.
MAX_PIECES = 8


def parse_flags(argv: Sequence[str]) -> Namespace:
    """Parse a command line as Hydra does, with flags among the overrides too.

    Raises:
        UserError: a flag is unknown, lacks its value or has an invalid one.
    """
    parser = get_args_parser()
    known = [option for action in parser._actions for option in action.option_strings]
    for text in argv:
        name, _, value = text.partition("=")
        if text == "--":
            break
        is_prefix = name.startswith("--") and any(flag.startswith(name) for flag in known)
        if name.startswith("-") and name not in known and not is_prefix:
            similar = get_close_matches(name, FLAGS, n=1, cutoff=0.75)
            key = f"a key has no dashes. Type {name.lstrip('-')}={value or '...'}"
            raise UserError(f"{text}: no such flag; {f'did you mean {similar[0]}?' if similar else key}")
    parser.error = _refuse  # type: ignore[method-assign]  # it would print its whole usage
    args = parser.parse_intermixed_args(list(argv))
    commands = [flag for flag in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(args, flag)]
    if len(commands) > 1:
        raise UserError(f"{' '.join(f'--{flag}' for flag in commands)}: only one of these at a time")
    if args.resolve and not (args.cfg or args.help):
        raise UserError("--resolve: only with --cfg or --help. Type --cfg job --resolve")
    if args.shell_completion and not any(text.startswith(COMPLETIONS) for text in args.overrides):
        raise UserError("--shell-completion: no action. Type install=bash, uninstall=bash or query=bash")
    if args.experimental_rerun:
        raise UserError("--experimental-rerun: reads a pickle, which could execute code. Type the overrides again")
    return args


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


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}. python train.py --help shows all options")


def parse_overrides(texts: Sequence[str], loader: ConfigLoader) -> tuple[list[Override], list[str]]:
    """Return the overrides among some arguments, and a line for each argument that is none."""
    parser = OverridesParser.create(config_loader=loader)
    overrides, problems, rest = [], [], list(texts)
    while rest:
        count = _num_pieces(parser, rest)
        text, rest = " ".join(rest[:count]), rest[count:]
        if count > 1:
            problems.append(f"{text}: spaces. Type {shlex.quote(_join(text.split()))}")
        elif (override := _parsed(parser, text)) is None:
            problems.append(f"{text if text.strip() else repr(text)}: {_reason(parser, text)}")
        else:
            overrides.append(override)
    return overrides, problems


def _parsed(parser: OverridesParser, text: str) -> Override | None:
    try:
        (override,) = parser.parse_overrides([text])
        values(override)
    except (HydraException, ValueError, RecursionError):  # of Python: numbers too long, brackets too deep
        return None
    return override if override.key_or_group else None


def _num_pieces(parser: OverridesParser, texts: Sequence[str]) -> int:
    """Return how many arguments are one override that the shell has split at spaces."""
    first, second = texts[0], "".join(texts[1:2])
    is_cut = first.endswith("=") or first.count("[") > first.count("]") or second.startswith("=")
    if is_cut and second and ("=" not in second or second.startswith("=")):
        for count in range(2, min(len(texts), MAX_PIECES) + 1):
            whole = _join(texts[:count])
            if not whole.endswith("=") and _parsed(parser, whole) is not None:
                return count
    return 1


def _join(pieces: Sequence[str]) -> str:
    """Join arguments to one override; within brackets, neighbouring values get a comma."""
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += f",{piece}" if "[" in whole and whole[-1].isalnum() and piece[0].isalnum() else piece
    return whole


def _reason(parser: OverridesParser, text: str) -> str:
    """Return why an argument cannot be parsed, and what to type."""
    key, has_value, value = text.partition("=")
    if not text.strip():
        return "empty argument; is a shell variable empty?"
    if text.startswith("="):
        return "no key. Expected key=value"
    if text.count("'") % 2 or text.count('"') % 2:
        return "a quote is not closed"
    if not has_value:
        return f"no value. Type {text}=..." if re.fullmatch(r"[\w./]+", text) else UNPARSED
    quoted = f"{key}='{value}'" if "/" in value else text  # a path, such as epoch=1-step=20.ckpt
    for repaired in (f"{text}]", f"{key.strip()}={value.strip()}", quoted, text.strip("'\"")):
        if repaired != text and _parsed(parser, repaired) is not None:
            return f"cannot be parsed; did you mean {shlex.quote(repaired)}?"
    if re.fullmatch(r"\w+\(.*\)", value):
        try:
            values(parser.parse_override(text))
        except (HydraException, ValueError) as error:
            return f"cannot be parsed: {' '.join(str(error).split()).rpartition(' while evaluating ')[2]}"
    return f"{UNPARSED}; quote the whole for the shell, and type lists as [a,b]"


def values(override: Override) -> list[Any]:
    """Return the values that an override sets: one, or each of a sweep up to `MAX_VALUES` and one more."""
    value = override.value()
    if not override.is_sweep_override():
        return [value]
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    if isinstance(value, RangeSweep) and not value.step:
        return []
    return [each for each, _ in zip(override.sweep_iterator(), range(MAX_VALUES + 1), strict=False)]
