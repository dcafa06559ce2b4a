"""Picture files to answers."""

import logging
from collections import Counter
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from torch import Tensor

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.image_io import describe_skipped, mode_of, read_image, resize, skip_reason
from fashion_mlp.data.registry import find_data_module
from fashion_mlp.inference.photo import as_fashion_mnist
from fashion_mlp.runtime.errors import UserError

log = logging.getLogger(__name__)

# Pixels a side of a photograph that is to have 28.
MIN_SIDE = 1024


def find_pictures(patterns: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders and globs name, in order, each once, also where symbolic links lead to it.

    One line for each folder says how many files were left out, and why.

    Raises:
        UserError: one of them names nothing.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            files = _images_in(path)
        else:
            files = [path] if path.is_file() else sorted(map(Path, glob(pattern, recursive=True)))  # noqa: PTH207
        if not files:
            raise UserError(f"{pattern}: no such picture, and no folder with pictures")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _images_in(folder: Path) -> list[Path]:
    files: list[Path] = []
    reasons: Counter[str] = Counter()
    try:
        for entry in sorted(folder.iterdir()):
            if reason := skip_reason(entry.name + "/" * entry.is_dir()):
                reasons[reason] += 1
            else:
                files.append(entry)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
    if files and reasons:
        log.warning(describe_skipped(folder, reasons))
    return files


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
    if find_data_module(data["option"]).is_light_on_black:
        return as_fashion_mnist(read_image(source, mode_of(channels), min_side=MIN_SIDE))
    return resize(read_image(source, mode_of(channels)), (height, width))
