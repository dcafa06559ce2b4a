"""What the terminal shows: our own lines, and nothing from libraries that the user cannot act on."""

import logging
import sys
import warnings

from tqdm import tqdm
from typing_extensions import override


class ConsoleHandler(logging.Handler):
    """Writes log records to stdout without tearing a progress bar apart."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def silence_libraries() -> None:
    """Drop Lightning's notices and those warnings that the user cannot act on; all others stay.

    Call it after importing Lightning, which sets its own levels when it is imported.
    """
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning's own use of a torch API, in its _pytree.py.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    # Workers pay for costly transforms; these images lie in memory.
    warnings.filterwarnings("ignore", ".*does not have many workers")
    # The epoch's figures are logged all the same.
    warnings.filterwarnings("ignore", ".*is smaller than the logging interval")
    # A run that goes on from another's checkpoint keeps its own in its own folder.
    warnings.filterwarnings("ignore", "The dirpath has changed from")
