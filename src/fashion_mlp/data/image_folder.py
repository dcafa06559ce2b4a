"""The reader's own images: a folder for each class, as torchvision's `ImageFolder` has it."""

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


class ImageFolderDataModule(CustomImagesDataModule):
    """Images in folders that are named by their classes: `img_dir/<class>/<image>`.

    Args:
        img_dir: the folder of the training images.
        val_img_dir: likewise for validation, instead of a part of the training images.
        test_img_dir: likewise for the test, instead of a part of the images in `img_dir`.
        **arguments: those of `CustomImagesDataModule`.
    """

    option = "image_folder"

    def __init__(
        self, img_dir: str, val_img_dir: str | None = None, test_img_dir: str | None = None, **arguments: Any
    ) -> None:
        sources = {"img_dir": img_dir, "val_img_dir": val_img_dir, "test_img_dir": test_img_dir}
        super().__init__("img_dir", sources, **arguments)

    def read_source(self, source: str, class_names: Sequence[str] | None) -> LabelledImages:
        samples = _find_samples(source)
        classes = dict.fromkeys(name for _, name in samples)
        names = tuple(class_names or classes)
        problems = [f"{source}/{name}: is none of {', '.join(names)}" for name in classes if name not in names]
        images = []
        for path, _ in samples:
            try:
                images.append(read_resized(path, self.mode, self.image_size))
            except UserError as error:
                problems.append(str(error))
        if problems:
            raise UserError(*problems)
        labels = torch.tensor([names.index(name) for _, name in samples])
        return LabelledImages(torch.stack(images), labels, names, [path for path, _ in samples])


def _find_samples(source: str) -> list[tuple[Path, str]]:
    """Return the path and class of each image, each file once, in the order of torchvision's `ImageFolder`.

    One line says how many files were left out: hidden ones, files that are no images or outside of the classes'
    folders, symbolic links to images that are listed already.

    Raises:
        UserError: a folder cannot be read, a class has no images, or an image is in two classes, by a symbolic link.
    """
    reasons: Counter[str] = Counter()
    files: dict[str, list[Path]] = {}
    try:
        for entry in os.scandir(source):
            if entry.is_dir() and not entry.name.startswith("."):
                files[entry.name] = _image_files(entry.path, reasons)
            else:
                reasons[skip_reason(entry.name) or "outside of the classes' folders"] += 1
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    problems = [] if files else [f"{source}: has no folders; expected one for each class, as in {source}/boot/1.png"]
    samples: dict[Path, tuple[Path, str]] = {}
    for name in sorted(files):
        if not files[name]:
            problems.append(f"{source}/{name}: has no images ({', '.join(SUFFIXES)})")
        for path in files[name]:
            first, other = samples.setdefault(path.resolve(), (path, name))
            if name != other:
                problems.append(f"{path}: is the same file as {first}, which is in another class; remove one of them")
            elif path != first:
                reasons["links to images that are listed already"] += 1
    if problems:
        raise UserError(*problems)
    if reasons and is_rank_zero():
        log.warning(describe_skipped(source, reasons))
    return list(samples.values())


def _image_files(folder: str, reasons: Counter[str]) -> list[Path]:
    """Return the images in the folder of a class and below it, and count by reason what is left out.

    Symbolic links to folders are followed, but no folder is entered twice, and none that contains the class's folder:
    a link that leads back up would never end.

    Raises:
        OSError: a folder cannot be read.
    """
    entered = {place.resolve() for place in (*Path(folder).absolute().parents, *Path(folder).resolve().parents)}
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        real = Path(place).resolve()
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(set(folders).difference(hidden))
        for name in (*hidden, *files):
            if reason := skip_reason(name):
                reasons[reason] += 1
            else:
                found.append(Path(place, name))
    return sorted(found, key=lambda path: (str(path.parent), path.name))


def _raise(error: OSError) -> None:
    raise error
