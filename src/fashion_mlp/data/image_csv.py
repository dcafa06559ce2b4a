"""The reader's own images: a CSV of file names and labels, and a folder."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from os.path import normpath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from fashion_mlp.data.own_images import Labelled, OwnImagesDataModule
from fashion_mlp.data.pictures import Mode, read_picture, resize
from fashion_mlp.errors import MANY, UserError

MAX_BYTES = 100_000_000
"""Of a CSV: more than a million rows."""
LONGEST_NUMBER = 9
"""Digits of a label that is a number."""


@dataclass(frozen=True)
class Row:
    """A line of the CSV."""

    line: int
    name: str
    label: str


class Problems:
    """What is wrong with a CSV: the first `MANY` that were found, by line, and how many there are."""

    def __init__(self) -> None:
        self.told: dict[int, str] = {}
        self.count = 0

    def note(self, line: int, problem: str) -> None:
        """Take in the problem of a line."""
        self.count += 1
        if len(self.told) < MANY:
            self.told[line] = problem


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
        path = Path(annotations_file)
        problems = Problems()
        rows = list(_rows(path, Path(img_dir), problems))
        self.class_names = tuple(class_names or _classes([row.label for row in rows]))
        labels, images = [], []
        for row in rows:
            try:
                labels.append(_label(row.label, self.class_names))
                images.append(resize(_read(Path(img_dir) / row.name, mode), image_size))
            except UserError as error:
                problems.note(row.line, str(error))
        if problems.count:
            _refuse(path, problems)
        if not rows:
            raise UserError(f"{path}: lists no images")
        self.paths = [Path(img_dir) / row.name for row in rows]
        self.images = torch.stack(images)
        self.labels = torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return an image and its label, each after its transform."""
        image, label = self.images[index], int(self.labels[index])
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )


class ImageCSVDataModule(OwnImagesDataModule):
    """Images that CSV files list.

    Args:
        annotations_file: the training images; see `CSVImageDataset`.
        img_dir: the folder of the images.
        val_annotations_file: the validation images, instead of a part of the training images.
        test_annotations_file: the test images, instead of a part of those in `annotations_file`.
        **arguments: those of `OwnImagesDataModule`.
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
        files = {"train": annotations_file, "val": val_annotations_file, "test": test_annotations_file}
        super().__init__(sources=files, **arguments)
        self.img_dir = img_dir

    @property
    @override
    def identity(self) -> dict[str, Any]:
        files = {
            "annotations_file": self.sources["train"],
            "val_annotations_file": self.sources["val"],
            "test_annotations_file": self.sources["test"],
            "img_dir": self.img_dir,
        }
        return self.described({name: value for name, value in files.items() if value is not None})

    @override
    def read_source(self, source: str, class_names: Sequence[str] | None) -> Labelled:
        dataset = CSVImageDataset(
            source, self.img_dir, image_size=self.image_size, mode=self.mode, class_names=class_names
        )
        return Labelled(dataset.images, dataset.labels, dataset.class_names, dataset.paths)


def _rows(path: Path, img_dir: Path, problems: Problems) -> Iterator[Row]:
    """Yield the rows that can be used, and note what is wrong with the others."""
    first_lines: dict[str, int] = {}
    # One line at a time, so that an open quotation mark cannot take in the lines below it.
    for line, text in enumerate(StringIO(_text(path)), start=1):
        try:
            cells = next(csv.reader([text], strict=True))
        except csv.Error as error:
            problems.note(line, f"is not valid CSV ({error}); a cell in quotation marks must end on its line")
            continue
        name, label = ([cell.strip() for cell in cells] + ["", ""])[:2]
        if line == 1 and not Path(name).suffix and not _is_file(img_dir / name):
            continue  # the header
        image = normpath(name)  # so that many names for one image are not many images
        if not name or not label:
            problems.note(line, "is empty" if not name and not label else "lacks a file name or a label")
        elif Path(image).is_absolute() or Path(image).parts[:1] == ("..",):
            problems.note(line, f"{name} is outside data.img_dir; name images by their place in it")
        elif image in first_lines:
            problems.note(line, f"{name} is listed on line {first_lines[image]} already")
        else:
            first_lines[image] = line
            yield Row(line, name, label)


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


def _classes(labels: Sequence[str]) -> list[str]:
    """Return the labels that occur, in order of number if all are numbers, else of name."""
    found = set(labels)
    return sorted(found, key=int) if all(map(_is_number, found)) else sorted(found)


def _is_number(label: str) -> bool:
    return label.isdecimal() and len(label) <= LONGEST_NUMBER


def _label(text: str, class_names: Sequence[str]) -> int:
    if text in class_names:
        return class_names.index(text)
    if _is_number(text) and int(text) < len(class_names):
        return int(text)
    raise UserError(f"label {text!r} is none of {', '.join(class_names)}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _read(path: Path, mode: Mode) -> Tensor:
    if not _is_file(path):
        raise UserError(f"{path} is missing")
    try:
        return read_picture(path, mode)
    except UserError as error:
        raise UserError(f"{path} {error}") from error


def _refuse(path: Path, problems: Problems) -> None:
    told = [f"{path} line {line}: {problem}" for line, problem in sorted(problems.told.items())]
    raise UserError(*told, more=problems.count - len(told))
