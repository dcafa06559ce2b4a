"""What the commands print and save."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from fashion_mlp.runtime.console import discard_stdout, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Item = TypeVar("Item")


def echo(text: str) -> None:
    """Print a line."""
    try:
        print(printable(text), flush=True)  # noqa: T201
    except BrokenPipeError:  # the reader, such as `head`, has ended; the command still saves its files
        discard_stdout()


def echo_json(values: object) -> None:
    """Print values as JSON."""
    from fashion_mlp.reporting.summary import to_json

    echo(to_json(values))


def progress(items: Iterable[Item], description: str) -> Iterable[Item]:
    """Show a progress bar on a terminal while the items are consumed, unless that takes less than two seconds."""
    bar: Iterable[Item] = tqdm(items, desc=description, disable=None, leave=False, delay=2)
    return bar


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Create the directory of a file that the block writes.

    Raises:
        UserError: the file cannot be written.
    """
    from fashion_mlp.runtime.errors import UserError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error


def save_figure(figure: "Figure", path: Path, *, quiet: bool = False) -> None:
    """Save a figure, and print its path unless `quiet`."""
    from fashion_mlp.reporting import figures

    with writing(path):
        figures.save(figure, path)
    if not quiet:
        echo(f"saved {path}")
