"""Custom images in a directory per class, as in torchvision's `ImageFolder`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fashion_mlp.data.custom_images import CustomImagesDataModule, LabelledImages, read_resized
from fashion_mlp.data.image_io import SUFFIXES, is_image_name, warn_of_skipped
from fashion_mlp.runtime.errors import UserError


class ImageFolderDataModule(CustomImagesDataModule, option="image_folder"):
    """Images in directories named after their classes: `img_dir/<class>/<image>`.

    Args:
        img_dir: directory of the training images.
        val_img_dir: directory of the validation images; None to hold out some of the training images.
        test_img_dir: directory of the test images; None to hold out some of the images in `img_dir`.
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

    A warning says how many entries were skipped.

    Raises:
        UserError: a directory cannot be read, a class has no images, or an image is linked to in two classes.
    """
    skipped = 0
    problems: list[str] = []
    samples: dict[Path, tuple[Path, str]] = {}
    try:
        for entry in sorted(source.iterdir()):
            if not entry.is_dir() or entry.name.startswith("."):
                skipped += 1
                continue
            paths, others = _find_images(entry)
            skipped += others
            if not paths:
                problems.append(f"{entry}: no images ({', '.join(SUFFIXES)})")
            for path in paths:
                first, name = samples.setdefault(path.resolve(), (path, entry.name))
                if name != entry.name:
                    problems.append(f"{path}: the same file as {first}, which is in another class. Remove one of them")
                elif path != first:
                    skipped += 1
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not samples and not problems:
        problems.append(f"{source}: no directories. Expected one per class, such as {source}/boot/1.png")
    if problems:
        raise UserError(*problems)
    warn_of_skipped(source, skipped)
    return dict(samples.values())


def _find_images(directory: Path) -> tuple[list[Path], int]:
    """Return the images in the directory of a class and below it, and the number of entries that are skipped.

    Links to directories below it are not followed, since they may lead back up.

    Raises:
        OSError: a directory cannot be read.
    """
    found: list[Path] = []
    skipped = 0
    for parent, directories, files in os.walk(directory, onerror=_raise):
        directories[:] = [name for name in directories if not name.startswith(".")]
        images = [Path(parent, name) for name in files if is_image_name(name)]
        found += images
        skipped += len(files) - len(images) + sum(Path(parent, name).is_symlink() for name in directories)
    return sorted(found, key=lambda path: (str(path.parent), path.name)), skipped


def _raise(error: OSError) -> None:
    raise error
