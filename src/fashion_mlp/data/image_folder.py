"""Custom images in a directory per class."""

from pathlib import Path
from typing import Any

from fashion_mlp.data.custom_images import CustomImagesDataModule, Sample
from fashion_mlp.data.image_io import SUFFIXES, is_image_name, warn_of_skipped
from fashion_mlp.runtime.errors import UserError


class ImageFolderDataModule(CustomImagesDataModule, option="image_folder"):
    """Images in directories named after their classes: `img_dir/<class>/<image>`.

    Args:
        img_dir: directory of the training images.
        val_img_dir: directory of the validation images; None to hold out some of the training images.
        test_img_dir: directory of the test images; None to hold out some of the images in `img_dir`.
        **arguments: further arguments of `CustomImagesDataModule`.
    """

    source_key = "img_dir"
    layout = "one directory per class, such as boot/1.png"

    def __init__(
        self, img_dir: str, val_img_dir: str | None = None, test_img_dir: str | None = None, **arguments: Any
    ) -> None:
        super().__init__({"train": img_dir, "val": val_img_dir, "test": test_img_dir}, **arguments)

    def list_samples(self, source: str) -> list[Sample]:
        samples: list[Sample] = []
        skipped = 0
        try:
            for entry in sorted(Path(source).iterdir()):
                if not entry.is_dir() or entry.name.startswith("."):
                    skipped += 1
                    continue
                files = _list_files(entry)
                images = [path for path in files if is_image_name(path.name)]
                if not images:
                    raise UserError(f"{entry}: no images ({', '.join(SUFFIXES)})")
                samples += [Sample(path, entry.name) for path in images]
                skipped += len(files) - len(images)
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
        warn_of_skipped(Path(source), skipped)
        return samples


def _list_files(directory: Path) -> list[Path]:
    """Return the files in a directory and below it, except in hidden directories, in order of their paths.

    A link to a directory below it is listed as a file and not followed, since it may lead back up.

    Raises:
        OSError: a directory cannot be read.
    """
    files: list[Path] = []
    for path in sorted(directory.iterdir()):
        if not path.is_dir() or path.is_symlink():
            files.append(path)
        elif not path.name.startswith("."):
            files += _list_files(path)
    return files
