"""What the commands print and save."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from fashion_mlp.runtime.console import discard_stdout, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A progress bar over an iterable with a description: on a terminal, unless it takes less than two seconds.
progress = partial(tqdm, disable=None, leave=False, delay=2)


def echo(text: str, file: TextIO | None = None) -> None:
    """Print a line to stdout, or another file."""
    try:
        print(printable(text), file=file, flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has ended; the command still saves its files
        discard_stdout()


def save_figure(figure: "Figure", path: Path) -> None:
    """Save a figure, and print its path to stderr, since stdout may contain JSON."""
    from fashion_mlp.reporting import figures

    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(figure, path)
    echo(f"saved {path}", sys.stderr)
