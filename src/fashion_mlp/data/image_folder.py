"""The user's own images in a directory per class, as in torchvision's `ImageFolder`."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fashion_mlp.data.custom_images import CustomImagesDataModule, LabelledImages, read_resized
from fashion_mlp.data.image_io import SUFFIXES, describe_skipped, skip_reason
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.ranks import is_rank_zero

log = logging.getLogger(__name__)


class ImageFolderDataModule(CustomImagesDataModule, option="image_folder"):
    """Images in directories named after their classes: `img_dir/<class>/<image>`.

    Args:
        img_dir: directory of the training images.
        val_img_dir: directory of the validation images; None to hold out a part of the training images.
        test_img_dir: directory of the test images; None to hold out a part of the images in `img_dir`.
        **arguments: those of `CustomImagesDataModule`.
    """

    source_key = "img_dir"

    def __init__(
        self, img_dir: str, val_img_dir: str | None = None, test_img_dir: str | None = None, **arguments: Any
    ) -> None:
        super().__init__({"train": img_dir, "val": val_img_dir, "test": test_img_dir}, **arguments)

    def read_source(self, source: str, class_names: Sequence[str] | None) -> LabelledImages:
        samples = _find_samples(Path(source))
        found = dict.fromkeys(samples.values())
        names = tuple(class_names or found)
        problems = [f"{source}/{name}: not one of {', '.join(names)}" for name in found if name not in names]
        images = []
        for path in samples:
            try:
                images.append(read_resized(path, self.mode, self.image_size))
            except UserError as error:
                problems.append(str(error))
        if problems:
            raise UserError(*problems)
        labels = torch.tensor([names.index(name) for name in samples.values()])
        return LabelledImages(torch.stack(images), labels, names, list(samples))


def _find_samples(source: Path) -> dict[Path, str]:
    """Return the class of each image, each file once, in the order of torchvision's `ImageFolder`.

    A warning tells how many files were skipped and why.

    Raises:
        UserError: a directory cannot be read, a class has no images, or an image is linked to in two classes.
    """
    skipped: Counter[str] = Counter()
    problems: list[str] = []
    samples: dict[Path, tuple[Path, str]] = {}
    try:
        for entry in sorted(source.iterdir()):
            if not entry.is_dir() or entry.name.startswith("."):
                skipped[skip_reason(entry.name) or "not in the directory of a class"] += 1
                continue
            paths = _find_images(entry, skipped)
            if not paths:
                problems.append(f"{entry}: no images ({', '.join(SUFFIXES)})")
            for path in paths:
                first, name = samples.setdefault(path.resolve(), (path, entry.name))
                if name != entry.name:
                    problems.append(f"{path}: the same file as {first}, which is in another class. Remove one of them")
                elif path != first:
                    skipped["links to images that are already listed"] += 1
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not samples and not problems:
        problems.append(f"{source}: no directories. Expected one per class, such as {source}/boot/1.png")
    if problems:
        raise UserError(*problems)
    if skipped and is_rank_zero():
        log.warning(describe_skipped(source, skipped))
    return dict(samples.values())


def _find_images(directory: Path, skipped: Counter[str]) -> list[Path]:
    """Return the images in the directory of a class and below it, and count by reason what is skipped.

    Links to directories below it are not followed, since they may lead back up.

    Raises:
        OSError: a directory cannot be read.
    """
    found: list[Path] = []
    for place, directories, files in os.walk(directory, onerror=_raise):
        directories[:] = [name for name in directories if not name.startswith(".")]
        skipped.update("links to directories" for name in directories if Path(place, name).is_symlink())
        for name in files:
            if reason := skip_reason(name):
                skipped[reason] += 1
            else:
                found.append(Path(place, name))
    return sorted(found, key=lambda path: (str(path.parent), path.name))


def _raise(error: OSError) -> None:
    raise error
