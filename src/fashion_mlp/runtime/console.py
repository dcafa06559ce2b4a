"""Output on the terminal: the lines of this package, without library messages that the user cannot act on."""

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent

from tqdm import tqdm

from fashion_mlp.runtime.signals import Interrupted

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# Regular expressions of warnings that the user cannot act on.
IGNORED_WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's use of a torch API, in its _pytree.py
    "GPU available but not used",  # trainer=cpu is a choice
    ".*does not have many workers",  # workers pay off for slow transforms; these images are in memory
    ".*is smaller than the logging interval",  # the metrics of the epoch are logged anyway
    # A resumed run writes to the directories of the interrupted one, and its loader starts within the epoch.
    "Experiment logs directory .* exists and is not empty",
    "Checkpoint directory .* exists and is not empty",
    "You're resuming from a checkpoint that ended before the epoch ended",
    "Encountered `nan` values in tensor",  # a run ends with an error first, and a learning-rate range test ends there
    "The dirpath has changed from",  # a run that starts from the checkpoint of another
)


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
    """Writes log records to stdout above a progress bar.

    Attributes:
        prefix: the start of each line, which distinguishes processes that share a terminal.
    """

    prefix = ""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(indent(self.format(record), self.prefix, lambda line: True), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            discard_stdout()
            raise Interrupted(signal.SIGPIPE, "the reader of the output has ended") from None


def discard_stdout() -> None:
    """Discard all further output, because its reader, such as `head`, has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def exit_with_reader() -> Iterator[None]:
    """End the process with status 141, without a message, if the reader of stdout, such as `head`, has ended."""
    try:
        try:
            yield
        except SystemExit:  # of argparse, after it has printed the help
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
        sys.exit(128 + signal.SIGPIPE)


def _is_requested(record: logging.LogRecord) -> bool:
    """Return whether a record is a warning, or comes from a callback, which logs only what it was asked for."""
    return record.levelno >= logging.WARNING or Path(record.pathname).parent.name == "callbacks"


def silence_libraries() -> None:
    """Hide Lightning's notices and `IGNORED_WARNINGS`; keep the output of callbacks and profilers.

    Call it after importing Lightning, which sets its own levels when it is imported.
    """
    logging.raiseExceptions = False  # if the disk is full, the run itself reports it
    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # the root logger's handlers write each record already
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    for name in ("callbacks", "profilers", "utilities.rank_zero"):
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_requested)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)


@contextmanager
def restore_logging() -> Iterator[None]:
    """Restore the root logger after the block, since Hydra replaces its handlers."""
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        yield
    finally:
        for handler in set(logging.root.handlers) - set(handlers):
            handler.close()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
