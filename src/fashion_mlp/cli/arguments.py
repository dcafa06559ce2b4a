"""Arguments that several commands have, and their types."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from fashion_mlp.cli.output import echo
from fashion_mlp.config.messages import find_obstacle
from fashion_mlp.runtime.console import printable

# The start of an override of the data.
DATA = ("data=", "data.")
DATA_HELP = "data=OPTION, data.KEY=VALUE as for train.py; by default the data that the checkpoint was trained on"
CHECKPOINT_HELP = "a .ckpt file written by train.py, the directory of a run or sweep, or latest, for the newest run"
ENSEMBLE_HELP = "more checkpoints, whose probabilities are averaged"
# Positional arguments, any number of them.
WORDS: dict[str, Any] = {"nargs": "*", "default": ()}
SHARED: dict[str, dict[str, Any]] = {
    "checkpoint": {"type": Path, "metavar": "CKPT", "help": CHECKPOINT_HELP},
    "--json": {"action": "store_true", "help": "print JSON"},
    "--device": {"choices": ("auto", "cpu", "cuda", "mps"), "default": "auto", "help": "(default: auto)"},
    "--tta": {"action": "store_true", "help": "average over flipped and shifted views (test-time augmentation)"},
}


def add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add arguments of `SHARED` to a parser."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def split_words(arguments: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Return the paths of all checkpoints on the command line, and the other words."""
    from fashion_mlp.cli.find_checkpoint import names_checkpoint  # takes too long for --help

    more = [word for word in arguments.words if not word.startswith(DATA) and names_checkpoint(word)]
    words = [word for word in arguments.words if word not in more]
    return [arguments.checkpoint, *(resolve_checkpoint(Path(word)) for word in more)], words


def resolve_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path names, and print it if it is not the path itself.

    Raises:
        UserError: there is none.
    """
    from fashion_mlp.cli.find_checkpoint import find_checkpoint

    found = find_checkpoint(path)
    if found != path:
        echo(f"checkpoint {found}", sys.stderr)  # the output may be JSON
    return found


def positive(text: str, limit: int = 10**18) -> int:
    """Convert a word to an integer from 1 to a limit, by default one that fits in 64 bits."""
    if not re.fullmatch("[1-9][0-9]{0,18}", text) or int(text) > limit:
        at_most = "" if limit == 10**18 else f" and at most {limit}"
        raise argparse.ArgumentTypeError(f"{text!r}: invalid value. Expected an integer of at least 1{at_most}")
    return int(text)


def output_directory(text: str) -> Path:
    """Return the path of a directory that exists or can be created; otherwise exit with status 1."""
    if obstacle := find_obstacle(Path(text)):
        sys.exit(printable(f"error: {text}: {obstacle}"))
    return Path(text).expanduser()


def output_file(text: str) -> Path:
    """Return the path of a file whose directory exists or can be created; otherwise exit with status 1."""
    return output_directory(str(Path(text).parent)) / Path(text).name


def figure_file(text: str) -> Path:
    """Return the path of an `output_file` with the suffix of a figure; otherwise exit with status 1."""
    from fashion_mlp.config.schema import FIGURE_SUFFIXES  # takes too long for --help

    if Path(text).suffix not in FIGURE_SUFFIXES:
        sys.exit(printable(f"error: {text}: unknown format. Expected {', '.join(FIGURE_SUFFIXES)}"))
    return output_file(text)
