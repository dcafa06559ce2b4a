"""Picture files to answers."""

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from torch import Tensor

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.photograph import as_fashion_mnist
from fashion_mlp.data.pictures import SUFFIXES, mode_of, read_picture, resize
from fashion_mlp.errors import UserError

LIKE_FASHION_MNIST = ("fashion_mnist", "synthetic")
"""Options of `data` whose images look as Fashion-MNIST's do."""
ENOUGH = 1024
"""Pixels a side of a photograph that is to have 28."""


def find_pictures(patterns: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders and globs name, in order, each once, also where symbolic links lead to it.

    Raises:
        UserError: one of them names nothing.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        else:
            files = [path] if path.is_file() else sorted(map(Path, glob(pattern, recursive=True)))  # noqa: PTH207
        if not files:
            raise UserError(f"{pattern}: no such picture, and no folder with pictures")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def prepare(source: Path | bytes, classifier: Classifier) -> Tensor:
    """Read a picture and bring it to what a classifier was trained on.

    For a classifier of Fashion-MNIST a photograph is converted as the dataset's images were; for one of the reader's
    own images it is only resized, as they were.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        UserError: it cannot be read.
    """
    data, (channels, height, width) = classifier.metadata["data"], classifier.metadata["model"]["image_shape"]
    if data["option"] in LIKE_FASHION_MNIST:
        return as_fashion_mnist(read_picture(source, mode_of(channels), enough=ENOUGH))
    return resize(read_picture(source, mode_of(channels)), (height, width))
