"""The entry point of `fashion-mlp`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NoReturn

from fashion_mlp import __version__
from fashion_mlp.cli import commands
from fashion_mlp.cli.arguments import DATA, resolve_checkpoint
from fashion_mlp.config.messages import did_you_mean
from fashion_mlp.runtime.console import exit_with_reader, printable
from fashion_mlp.runtime.signals import exit_at_once

# Each is a module of `commands` with `add_arguments(parser)`, `run(arguments)` and its help as docstring. It imports
# torch in functions only, so that --help and a typo are answered at once. `run` may return an exit status.
COMMANDS = [module.name.replace("_", "-") for module in iter_modules(commands.__path__)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    with exit_with_reader():
        command, arguments = _parse(sys.argv[1:] if argv is None else argv)
    with exit_at_once():
        from fashion_mlp.config.command_line import quote_value
        from fashion_mlp.runtime.errors import exit_on_user_error
        from fashion_mlp.runtime.failures import explain_failures, importing_torch
    with exit_on_user_error(), explain_failures("use smaller batches, fewer images, or --device cpu"):
        if "checkpoint" in arguments:
            arguments.checkpoint = resolve_checkpoint(arguments.checkpoint)
            with importing_torch():
                import_module("fashion_mlp.inference.load")
        if "words" in arguments:
            arguments.words = [quote_value(word) if word.startswith(DATA) else word for word in arguments.words]
        return command.run(arguments) or 0


class _Parser(argparse.ArgumentParser):
    """A parser whose error messages are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"error: {message}. Type {self.prog} --help\n"))


def _parse(argv: Sequence[str]) -> tuple[Any, argparse.Namespace]:
    """Return the module of the command that the first word names, and the parsed arguments.

    The arguments are parsed in a second step, since a subparser does not accept words both before and after options.
    """
    parser = _Parser(prog="fashion-mlp", description="Inspect data and learning rates, use checkpoints, measure speed.")
    parser.add_argument("--version", action="version", version=f"fashion-mlp {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {name: import_module(f"{commands.__name__}.{name.replace('-', '_')}") for name in COMMANDS}
    for name, module in modules.items():
        subparsers.add_parser(name, help=module.__doc__, description=module.__doc__)
    if argv and argv[0] not in COMMANDS and not argv[0].startswith("-"):
        sys.exit(printable(f"error: {argv[0]}: no such command{did_you_mean(argv[0], COMMANDS)}"))
    namespace = parser.parse_args(argv[:1])
    command, subparser = modules[namespace.command], subparsers.choices[namespace.command]
    command.add_arguments(subparser)
    return command, subparser.parse_intermixed_args(argv[1:], namespace)
