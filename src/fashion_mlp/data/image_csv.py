"""The reader's own images: a CSV of file names and labels, and a folder."""

import csv
from collections.abc import Callable, Collection, Sequence
from io import StringIO
from os.path import isfile, normpath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fashion_mlp.data.custom_images import CustomImagesDataModule, LabelledImages, read_resized
from fashion_mlp.data.image_io import Mode
from fashion_mlp.runtime.errors import MAX_ERRORS, UserError

# Of a CSV: more than a million rows.
MAX_BYTES = 100_000_000
# Digits of a label that is a number.
LONGEST_NUMBER = 9


class CSVImageDataset(Dataset[tuple[Any, Any]]):
    """Images and labels as a CSV lists them, read once and kept in memory.

    Args:
        annotations_file: lines of `file name,label`, UTF-8, with or without a header line. Labels are names or numbers.
        img_dir: the folder that the file names are relative to.
        transform: applied to an image, uint8 `[C, H, W]`, when it is asked for.
        target_transform: applied to its label, an int, likewise.
        image_size: height and width that all images are brought to.
        mode: "gray" for one channel, "rgb" for three.
        class_names: the classes, in order; a label is then one of these names, or its place among them. By default
            the classes are the labels that occur, in order of number or name.

    Raises:
        UserError: one line for each row that is empty, short, a duplicate, names an unknown class or an image that is
            missing, unreadable or outside `img_dir`.
    """

    def __init__(
        self,
        annotations_file: str | Path,
        img_dir: str | Path,
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        image_size: tuple[int, int] = (28, 28),
        mode: Mode = "gray",
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.transform = transform
        self.target_transform = target_transform
        labelled = read_csv(Path(annotations_file), Path(img_dir), mode, image_size, class_names)
        self.images, self.labels, self.class_names, self.paths = labelled

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return an image and its label, each after its transform."""
        image, label = self.images[index], int(self.labels[index])
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )


class ImageCSVDataModule(CustomImagesDataModule):
    """Images that CSV files list.

    Args:
        annotations_file: the training images; see `CSVImageDataset`.
        img_dir: the folder of the images.
        val_annotations_file: the validation images, instead of a part of the training images.
        test_annotations_file: the test images, instead of a part of those in `annotations_file`.
        **arguments: those of `CustomImagesDataModule`.
    """

    option = "image_csv"

    def __init__(
        self,
        annotations_file: str,
        img_dir: str,
        val_annotations_file: str | None = None,
        test_annotations_file: str | None = None,
        **arguments: Any,
    ) -> None:
        sources = {
            "annotations_file": annotations_file,
            "val_annotations_file": val_annotations_file,
            "test_annotations_file": test_annotations_file,
            "img_dir": img_dir,
        }
        super().__init__("annotations_file", sources, **arguments)
        self.img_dir = Path(img_dir)

    def read_source(self, source: str, class_names: Sequence[str] | None) -> LabelledImages:
        return read_csv(Path(source), self.img_dir, self.mode, self.image_size, class_names)


def read_csv(
    csv_file: Path, img_dir: Path, mode: Mode, size: tuple[int, int], class_names: Sequence[str] | None
) -> LabelledImages:
    """Read the images that a CSV lists; see `CSVImageDataset`."""
    paths: list[Path] = []
    labels: list[str] = []
    images: list[Tensor] = []
    lines: dict[str, int] = {}
    problems: list[str] = []
    count = 0
    # One line at a time, so that an open quotation mark cannot take in the lines below it.
    for line, text in enumerate(StringIO(_text(csv_file)), start=1):
        try:
            name, label = _cells(text)
            path = img_dir / name
            is_there = isfile(path)  # noqa: PTH113, since Path.is_file raises of a name that no file can have
            if line == 1 and not path.suffix and not is_there:
                continue  # the header
            _check_row(name, label)
            if (first := lines.setdefault(normpath(name), line)) != line:
                raise UserError(f"{name} is listed on line {first} already")
            if class_names:
                _class_index(label, class_names)
            if not is_there:
                raise UserError(f"{path} is missing")
            images.append(read_resized(path, mode, size))
        except UserError as error:
            count += 1
            if count <= MAX_ERRORS:  # a file of nothing else would fill the memory
                problems.append(f"{csv_file} line {line}: {error}")
        else:
            paths.append(path)
            labels.append(label)
    if problems:
        raise UserError(*problems, more=count - len(problems))
    if not lines:
        raise UserError(f"{csv_file}: lists no images")
    names = tuple(class_names or _class_names(set(labels)))
    return LabelledImages(
        torch.stack(images), torch.tensor([_class_index(label, names) for label in labels]), names, paths
    )


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise UserError(f"{path}: cannot be read ({'no regular file' if path.exists() else 'no such file'})")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: has {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}; divide it")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text, so no CSV") from error


def _cells(text: str) -> tuple[str, str]:
    """Return the file name and the label of a line; what it lacks is empty."""
    try:
        cells = next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UserError(f"is not valid CSV ({error}); a cell in quotation marks must end on its line") from error
    name, label, *_ = (*(cell.strip() for cell in cells), "", "")
    return name, label


def _check_row(name: str, label: str) -> None:
    if not name and not label:
        raise UserError("is empty")
    if not name or not label:
        raise UserError("lacks a file name or a label")
    if Path(name).is_absolute() or Path(normpath(name)).parts[:1] == ("..",):
        raise UserError(f"{name} is outside data.img_dir; name images by their place in it")


def _class_names(labels: Collection[str]) -> list[str]:
    """Return labels in order of number if all are numbers, else of name."""
    return sorted(labels, key=int if all(map(_is_number, labels)) else None)


def _is_number(label: str) -> bool:
    return label.isdecimal() and len(label) <= LONGEST_NUMBER


def _class_index(label: str, class_names: Sequence[str]) -> int:
    if label in class_names:
        return class_names.index(label)
    if _is_number(label) and int(label) < len(class_names):
        return int(label)
    raise UserError(f"label {label!r} is none of {', '.join(class_names)}")
