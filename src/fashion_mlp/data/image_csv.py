"""Custom images that CSV files list with their labels."""

import csv
from io import StringIO
from os.path import isfile, normpath
from pathlib import Path
from typing import Any

from fashion_mlp.data.custom_images import CustomImagesDataModule, Sample
from fashion_mlp.data.image_io import is_image_name
from fashion_mlp.runtime.errors import MAX_ERRORS, UserError

# Size of a CSV file, enough for more than a million rows.
MAX_BYTES = 100_000_000


class ImageCSVDataModule(CustomImagesDataModule, option="image_csv"):
    """Images that CSV files list: lines of `file name,label`, UTF-8, with or without a header line.

    Args:
        annotations_file: CSV file of the training images.
        img_dir: directory to which the file names are relative.
        val_annotations_file: CSV file of the validation images; None to hold out some of the training images.
        test_annotations_file: CSV file of the test images; None to hold out some of those in `annotations_file`.
        **arguments: further arguments of `CustomImagesDataModule`.
    """

    source_key = "annotations_file"
    layout = "lines of `file name,label`"

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

    def list_samples(self, source: str) -> list[Sample]:
        samples: list[Sample] = []
        problems: list[str] = []
        text = _read_text(Path(source))
        header = text.partition("\n")[0]
        for separator, name in (("\t", "tabs"), (";", "semicolons")):
            if separator in header and "," not in header:
                raise UserError(f"{source}: separated by {name}. Expected commas: file name,label")
        # One line at a time, so that an open quotation mark does not swallow the lines below it.
        for number, line in enumerate(StringIO(text), start=1):
            place = f"{source} line {number}: "
            try:
                name, label = _parse_row(line)
            except UserError as error:
                problems.append(f"{place}{error}")
                if len(problems) == MAX_ERRORS:  # a large file with an error in each line must not fill the memory
                    break
                continue
            path = self.img_dir / name
            if number > 1 or path.suffix or isfile(path):  # noqa: PTH113, no error for names that no file can have
                samples.append(Sample(path, label, place))
        if samples and all(is_image_name(sample.label) for sample in samples):
            raise UserError(f"{source}: the label is in the first column. Expected file name,label")
        if problems:
            raise UserError(*problems)
        return samples


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: not a file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(f"{path}: {size:,} bytes. Expected at most {MAX_BYTES:,}")
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
