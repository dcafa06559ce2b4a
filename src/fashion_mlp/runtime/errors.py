"""Mistakes that the user can mend, and how they are told: one line, exit status 1, no traceback."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException

from fashion_mlp.runtime import ranks
from fashion_mlp.runtime.console import printable
from fashion_mlp.runtime.signals import Interrupted, erase_line

# Lines: more of them nobody reads, and the rest comes when these are mended.
MAX_ERRORS = 5


class UserError(CompactHydraException):
    """A mistake in the user's input or surroundings, or several; each text names the key or file and the remedy.

    Hydra prints a compact exception without its traceback, so a failed job of a multirun is reported
    in the same words as a failed single run.
    """

    def __init__(self, *problems: str, more: int = 0) -> None:
        """Take the problems, and how many more there are that are only counted."""
        told = [_in_one_line(part) for problem in problems for part in problem.split("\nerror: ")]
        count = len(told) + more
        if count > MAX_ERRORS:
            told = [*told[: MAX_ERRORS - 1], f"and {count - MAX_ERRORS + 1} more"]
        super().__init__("\nerror: ".join(told))


def _in_one_line(text: str) -> str:
    """Join the lines of a library's message, or of what the user typed."""
    return printable(" ".join(line.strip() for line in text.splitlines() if line.strip()))


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a `UserError` into its message on stderr and exit status 1, and an interruption into how to go on.

    An error that all processes of a run have is reported by the first of them; one that another process has because
    the first has ended, by none.
    `HYDRA_FULL_ERROR=1` prints the traceback.
    """
    try:
        yield
    except BrokenPipeError:  # the reader of the output has ended
        raise
    except Exception as error:
        is_full = os.environ.get("HYDRA_FULL_ERROR") == "1"
        if not (is_full or ranks.is_rank_zero() or ranks.survives_grace_period()):
            sys.exit(1)
        if isinstance(error, UserError) and not is_full:
            sys.exit(f"error: {error}")
        traceback.print_exc()
        sys.exit(1)  # Hydra would turn an error in a callback into a warning
    except Interrupted as interrupted:
        if interrupted.message and ranks.is_rank_zero():
            erase_line()
            print(interrupted.message, file=sys.stderr)  # noqa: T201, as `sys.exit` does with a message
        sys.exit(interrupted.code)
    except KeyboardInterrupt:
        erase_line()
        sys.exit(130)  # what a shell expects: 128 and the signal's number
