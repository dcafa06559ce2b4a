"""`UserError`: a mistake that the user can correct. It is printed in one line, with exit status 1 and no traceback."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException

from fashion_mlp.runtime import ranks
from fashion_mlp.runtime.console import exit_with_reader, printable
from fashion_mlp.runtime.signals import Interrupted, erase_line

# Maximum number of lines of a message. The other mistakes are reported after these are corrected.
MAX_ERRORS = 5


class UserError(CompactHydraException):
    """One or more mistakes in the user's input or environment. Each message names the key or file and the remedy.

    Hydra prints a compact exception without a traceback, so a failed job of a sweep prints the same lines as a failed
    run.

    Args:
        *problems: messages.
    """

    def __init__(self, *problems: str) -> None:
        lines = [_in_one_line(part) for problem in problems for part in problem.split("\nerror: ")]
        if len(lines) > MAX_ERRORS:
            lines = [*lines[: MAX_ERRORS - 1], f"and {len(lines) - MAX_ERRORS + 1} more"]
        super().__init__("\nerror: ".join(lines))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook displays instead of a traceback."""
        return [f"error: {self}"]


def _in_one_line(text: str) -> str:
    """Join the lines of a message, which may quote a library or the user's input."""
    return printable(" ".join(line.strip() for line in text.splitlines() if line.strip()))


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a `UserError` or `Interrupted` into its message on stderr and an exit status.

    Rank zero reports an error that all processes of a run have. Another rank stays silent, also if it only fails
    because rank zero has ended. `HYDRA_FULL_ERROR=1` prints the traceback.
    """
    is_full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with exit_with_reader():
            yield
    except Exception as error:
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
        sys.exit(130)  # the status that shells expect: 128 + the number of SIGINT
