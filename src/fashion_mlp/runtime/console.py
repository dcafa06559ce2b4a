"""What the terminal shows: our own lines, and nothing from libraries that the user cannot act on."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from fashion_mlp.runtime.signals import SIGPIPE, Interrupted

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Escape control characters, except line breaks and tabs, and the surrogates of undecodable file names.

    Class names and file names can come from anybody, and a terminal executes the control sequences in them. Escapes
    have the form `\u001b`, which is valid in JSON too.
    """
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class LineFormatter(logging.Formatter):
    """Formats log records without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class ConsoleHandler(logging.Handler):
    """Writes log records to stdout without tearing a progress bar apart."""

    prefix = ""

    def emit(self, record: logging.LogRecord) -> None:
        lines = self.format(record).splitlines()
        try:
            tqdm.write("\n".join(self.prefix + line for line in lines), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            discard_stdout()
            raise Interrupted(SIGPIPE, "the reader of the output has ended") from None


def discard_stdout() -> None:
    """Write nowhere from now on: the reader of the output, such as `head`, has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def exit_on_closed_stdout() -> Iterator[None]:
    """End the process with the status of SIGPIPE if the reader of the output has ended."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
        sys.exit(128 + SIGPIPE)


def set_log_prefix(prefix: str) -> None:
    """Mark the lines of this process, whose terminal others write to as well."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ConsoleHandler):
            handler.prefix = prefix


def _is_requested(record: logging.LogRecord) -> bool:
    """Return whether a record is a warning, or comes from a callback: those of a run say nothing unless asked to."""
    return record.levelno >= logging.WARNING or Path(record.pathname).parent.name == "callbacks"


def silence_libraries() -> None:
    """Drop Lightning's notices and those warnings that the user cannot act on; keep what callbacks and profilers say.

    Call it after importing Lightning, which sets its own levels when it is imported.
    """
    logging.raiseExceptions = False  # a log on a disk that is full: the run will say so
    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # the root logger's handlers write each record already
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    for name in ("callbacks", "profilers", "utilities.rank_zero"):
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_requested)
    # Lightning's own use of a torch API, in its _pytree.py.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    # Workers pay for costly transforms; these images lie in memory.
    warnings.filterwarnings("ignore", ".*does not have many workers")
    # The epoch's figures are logged all the same.
    warnings.filterwarnings("ignore", ".*is smaller than the logging interval")
    # A resumed run's charts in CSV are written anew, with what they held.
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    # A resumed run's folder is its own, and its loader begins where it was interrupted.
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")
    # A run that goes on from another's checkpoint keeps its own in its own folder.
    warnings.filterwarnings("ignore", "The dirpath has changed from")
