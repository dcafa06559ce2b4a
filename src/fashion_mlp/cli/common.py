"""What the commands share: the device, the data, and how they print, save and show progress."""

import argparse
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from fashion_mlp.classifier import Classifier
from fashion_mlp.cli.data_overrides import parse_data_overrides
from fashion_mlp.config.messages import format_value
from fashion_mlp.config.paths import find_obstacle, same_path
from fashion_mlp.config.schema import FIGURE_SUFFIXES
from fashion_mlp.data import ImageDataModule, build_datamodule
from fashion_mlp.data.custom_images import CustomImagesDataModule
from fashion_mlp.data.image_io import mode_of
from fashion_mlp.data.registry import SOURCES
from fashion_mlp.inference.ensemble import load_members
from fashion_mlp.reporting import figures
from fashion_mlp.reporting.summary import to_json
from fashion_mlp.runtime.console import discard_stdout, printable
from fashion_mlp.runtime.errors import UserError

log = logging.getLogger(__name__)

NOT_FOR = "it cannot answer for them"
# Arguments of data that say what is written, asked for and started on this machine.
NOT_FROM_A_CHECKPOINT = ("root", "mirrors", "timeout", "num_workers")


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; for "auto" the first there is of cuda, mps and cpu.

    Raises:
        UserError: this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_there in available.items() if is_there)
    if not available[name]:
        raise UserError(f"--device {name}: this machine has none; use --device auto")
    return torch.device(name)


def is_about_data(word: str) -> bool:
    """Return whether a word of a command line is an override of the data."""
    return word.startswith(("data=", "data."))


def load_checkpoints(arguments: argparse.Namespace) -> tuple[list[Path], list[Classifier], list[str]]:
    """Load the checkpoint, and the further ones among the words after it, which are told by their ending.

    Returns:
        Their paths, themselves, and the other words.

    Raises:
        UserError: one cannot be used, or they make no ensemble.
    """
    named = [word for word in arguments.words if word.endswith(".ckpt") and not is_about_data(word)]
    paths = [arguments.checkpoint, *map(Path, named)]
    members = load_members(paths, resolve_device(arguments.device), tta=arguments.tta)
    return paths, members, [word for word in arguments.words if word not in named]


def test_data(classifier: Classifier, overrides: Sequence[str], *, fetch: bool = True) -> ImageDataModule:  # noqa: PT028
    """Return the data to test a classifier on, in memory: those it was trained on, or those that overrides name.

    Without `fetch` they are read as they lie there, and nothing is downloaded or drawn: an `OSError` if there are none.

    Images of the reader's own that are named here are all tested on, since they were not split for this classifier,
    and their labels are among its classes. Where they are those that it was trained on, it is tested on the part of
    them that was held out then.
    """
    typed_option, arguments = parse_data_overrides(overrides)
    option = None if typed_option is None else format_value(typed_option)
    trained_on = classifier.metadata["data"]
    source = SOURCES.get(option or trained_on["option"], "")
    stored = trained_on["arguments"]
    is_stored = option == trained_on["option"] and same_path(str(arguments.get(source)), str(stored.get(source)))
    if option is None or is_stored:
        if named := [name for name in NOT_FROM_A_CHECKPOINT if name in stored]:
            raise UserError(f"the checkpoint: refused, since it sets data.{named[0]}, which is for the command line")
        if source:
            _check_split(stored, arguments)
        option, arguments = trained_on["option"], {**stored, **arguments}
    elif source in arguments:
        arguments.setdefault(f"test_{source}", arguments[source])
    if option in SOURCES:
        channels, height, width = classifier.metadata["model"]["image_shape"]
        as_trained = {"image_size": [height, width], "mode": mode_of(channels)}
        arguments = {"class_names": list(classifier.class_names), **as_trained, **arguments}
    datamodule = build_datamodule(option, arguments)
    if fetch:
        datamodule.prepare_data()
    datamodule.setup("test")
    _check_fits(classifier, datamodule)
    if isinstance(datamodule, CustomImagesDataModule):
        _check_files(datamodule, trained_on)
    return datamodule


def _check_split(stored: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Refuse another split of the images that a checkpoint was trained on.

    Raises:
        UserError: with it, some of the test images would be training images.
    """
    for name in ("split_seed", "test_size"):
        if name in typed and typed[name] != stored.get(name):
            raise UserError(
                f"data.{name}={format_value(typed[name])}: the checkpoint was trained with "
                f"{format_value(stored.get(name))}; "
                "another split would test it on images that it was trained on. Leave it out"
            )


def _check_files(datamodule: CustomImagesDataModule, trained_on: Mapping[str, Any]) -> None:
    """Warn where images to test on are, or may be, those that a checkpoint was trained on."""
    has_own_source = datamodule.sources["test"] is not None
    source = str(datamodule.sources["test" if has_own_source else "train"])
    is_as_trained = datamodule.labelled("test" if has_own_source else "train").fingerprint() == trained_on.get("files")
    if has_own_source and is_as_trained:
        log.warning(f"{source}: these are the images that the checkpoint was trained on, so this is no test")
    elif "files" in trained_on and not has_own_source and not is_as_trained:
        log.warning(f"{source}: has changed since the training, so some of these test images may be training images")


def _check_fits(classifier: Classifier, datamodule: ImageDataModule) -> None:
    shape, expected = list(datamodule.image_shape), list(classifier.metadata["model"]["image_shape"])
    if shape != expected:
        raise UserError(
            f"data={datamodule.option}: its images are {format_value(shape)}, the checkpoint's "
            f"{format_value(expected)}; {NOT_FOR}"
        )
    names, known = datamodule.class_names, classifier.class_names
    if tuple(names) != tuple(known):
        raise UserError(
            f"data={datamodule.option}: its classes are {_told(names)}; the checkpoint's {_told(known)}; {NOT_FOR}"
        )


def _told(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def progress(items: Collection[Any] | Iterable[Any], what: str) -> Iterable[Any]:
    """Show a bar on a terminal, after two seconds, so that short work shows none."""
    bar: Iterable[Any] = tqdm(items, desc=what, disable=None, leave=False, delay=2)
    return bar


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Make the folder of a file that the block writes.

    Raises:
        UserError: the file cannot be written, or its ending names no format.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error


def check_file(path: Path | None, endings: Sequence[str] = FIGURE_SUFFIXES) -> None:
    """Check that a file can be written under a name, before the work that it will hold.

    Raises:
        UserError: it has none of the endings, or its folder cannot be made or written.
    """
    if path is not None and path.suffix not in endings:
        raise UserError(f"{path}: must end in {', '.join(endings)}")
    if path is not None and (problem := find_obstacle(path.parent)):
        raise UserError(f"{path}: its folder {problem}")


def check_folder(path: Path | None) -> None:
    """Check that a folder is there, or can be made.

    Raises:
        UserError: it cannot.
    """
    if path is not None and (problem := find_obstacle(path)):
        raise UserError(f"{path}: {problem}")


def save(figure: Figure, path: Path, *, quiet: bool) -> None:
    """Write a figure, and say so."""
    with writable(path):
        figures.save(figure, path)
    if not quiet:
        echo(f"saved {path}")


def echo(text: str) -> None:
    """Print a line: that is what a command is for."""
    try:
        print(printable(text), flush=True)  # noqa: T201
    except BrokenPipeError:  # the reader, such as `head`, has seen enough: what is saved is saved all the same
        discard_stdout()


def echo_json(values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print values as JSON."""
    echo(to_json(values))
