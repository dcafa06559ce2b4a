"""Custom images, listed with their labels in a CSV file."""

import csv
from collections.abc import Sequence
from io import StringIO
from os.path import isfile, normpath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fashion_mlp.data.custom_images import CustomImagesDataModule, LabelledImages, read_resized
from fashion_mlp.runtime.errors import MAX_ERRORS, UserError

# Size of a CSV file, enough for more than a million rows.
MAX_BYTES = 100_000_000
# Digits of a label that is a number.
MAX_DIGITS = 9


class ImageCSVDataModule(CustomImagesDataModule, option="image_csv"):
    """Images that CSV files list: lines of `file name,label`, UTF-8, with or without a header line.

    Labels are names, or numbers. If `class_names` are given, a label is one of them or its index; otherwise the classes
    are the labels that occur, in numerical or else in alphabetical order.

    Args:
        annotations_file: CSV file of the training images.
        img_dir: directory to which the file names are relative.
        val_annotations_file: CSV file of the validation images; None to hold out some of the training images.
        test_annotations_file: CSV file of the test images; None to hold out some of those in `annotations_file`.
        **arguments: those of `CustomImagesDataModule`.
    """

    source_key = "annotations_file"

    def __init__(
        self,
        annotations_file: str,
        img_dir: str,
        val_annotations_file: str | None = None,
        test_annotations_file: str | None = None,
        **arguments: Any,
    ) -> None:
        sources = {"train": annotations_file, "val": val_annotations_file, "test": test_annotations_file}
        super().__init__(sources, **arguments)
        self.arguments["img_dir"] = img_dir
        self.img_dir = Path(img_dir)

    def read_source(self, source: str, class_names: Sequence[str] | None) -> LabelledImages:
        """Read the images that a CSV file lists.

        Raises:
            UserError: one line for each row that is not valid, repeats an image, has an unknown class, or names an
                image that is missing, unreadable or outside of `img_dir`.
        """
        images: list[Tensor] = []
        samples: dict[Path, str] = {}
        lines: dict[str, int] = {}
        problems: list[str] = []
        count = 0
        # One line at a time, so that an open quotation mark does not swallow the lines below it.
        for line, text in enumerate(StringIO(_read_text(Path(source))), start=1):
            try:
                name, label = _parse_row(text)
                path = self.img_dir / name
                if line == 1 and not path.suffix and not isfile(path):  # noqa: PTH113, no error for names that no file can have
                    continue  # the header
                if (first := lines.setdefault(normpath(name), line)) != line:
                    raise UserError(f"{name} is already listed on line {first}")
                if class_names:
                    _class_index(label, class_names)
                images.append(read_resized(path, self.mode, self.image_size))
                samples[path] = label
            except UserError as error:
                count += 1
                if count <= MAX_ERRORS:  # a large file with an error in each line must not fill the memory
                    problems.append(f"{source} line {line}: {error}")
        if problems:
            raise UserError(*problems, more=count - len(problems))
        if not samples:
            raise UserError(f"{source}: lists no images")
        known = set(samples.values())  # in numerical order if all are numbers
        names = tuple(class_names or sorted(known, key=int if all(map(_is_number, known)) else None))
        labels = torch.tensor([_class_index(label, names) for label in samples.values()])
        return LabelledImages(torch.stack(images), labels, names, list(samples))


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: not a file")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size:,} bytes. Expected at most {MAX_BYTES:,}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _parse_row(text: str) -> tuple[str, str]:
    """Return the file name and the label of a line, which may contain more columns."""
    try:
        cells = next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UserError(f"is not valid CSV ({error}); a quotation mark must be closed on its line") from error
    name, label, *_ = (*(cell.strip() for cell in cells), "", "")
    if not name or not label:
        raise UserError("has no file name or no label")
    if Path(name).is_absolute() or Path(normpath(name)).parts[:1] == ("..",):
        raise UserError(f"{name} is outside of data.img_dir")
    return name, label


def _is_number(label: str) -> bool:
    return label.isdecimal() and len(label) <= MAX_DIGITS


def _class_index(label: str, class_names: Sequence[str]) -> int:
    if label in class_names:
        return class_names.index(label)
    if _is_number(label) and int(label) < len(class_names):
        return int(label)
    raise UserError(f"label {label!r} is not one of {', '.join(class_names)}")
