"""What data modules over the reader's own images share: their parts, their classes, their size."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fashion_mlp.data.dataset import resolve_split_size, stratified_split
from fashion_mlp.data.image_io import Mode, read_image, resize
from fashion_mlp.data.module import Batch, ImageDataModule
from fashion_mlp.runtime.errors import UserError

# A confusion matrix has the square of them.
MAX_CLASSES = 10_000

# Of the argument that names a split's source.
PREFIXES = {"train": "", "val": "val_", "test": "test_"}


class LabelledImages(NamedTuple):
    """Images, uint8 `[N, C, H, W]`, labels, int64 `[N]`, what the labels mean, and the files of the images."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    paths: Sequence[Path]

    def file_ids(self) -> dict[tuple[int, int], Path]:
        """Return the files by device and inode, which are the same under whatever name."""
        return {(status.st_dev, status.st_ino): path for path, status in ((path, path.stat()) for path in self.paths)}

    def fingerprint(self) -> str:
        """Return a checksum of the names, classes and sizes of the files: the same wherever their folder is."""
        files = zip(self.paths, self.labels.tolist(), strict=True)
        lines = sorted(f"{self.class_names[label]}/{path.name} {path.stat().st_size}" for path, label in files)
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


class CustomImagesDataModule(ImageDataModule):
    """Images from sources of the reader's own: one for training, and perhaps others for validation and test.

    Args:
        source_key: the argument that names the source of the training images; those for validation and test have
            `val_` and `test_` before it.
        sources: the arguments that say what to read; None for one that takes a part of the training images.
        image_size: height and width that all images are brought to.
        mode: "gray" for one channel, "rgb" for three.
        test_size: images, or if less than 1 the part of them, that are held out for the test, stratified by class,
            where the test has no source of its own.
        class_names: the classes, in the order of the labels; by default those that the training images have.
        val_size: likewise for validation, of what the test leaves.
        **loading: the arguments of `ImageDataModule`.
    """

    def __init__(
        self,
        source_key: str,
        sources: Mapping[str, str | None],
        image_size: Sequence[int] = (28, 28),
        mode: Mode = "gray",
        test_size: float = 0.2,
        class_names: Sequence[str] | None = None,
        val_size: float = 0.1,
        **loading: Any,
    ) -> None:
        super().__init__(val_size=val_size, **loading)
        given = {name: value for name, value in sources.items() if value is not None}
        self.arguments = {**given, "image_size": list(image_size), "mode": mode, "test_size": test_size}
        self.sources = {split: sources[f"{prefix}{source_key}"] for split, prefix in PREFIXES.items()}
        self.image_size = (image_size[0], image_size[1])
        self.mode = mode
        self.test_size = test_size
        self.has_own_val = self.sources["val"] is not None
        self.image_shape = (1 if mode == "gray" else 3, *self.image_size)
        self.given_class_names = tuple(class_names) if class_names else None
        self.name = f"own images ({Path(str(self.sources['train'])).name})"
        self._read: dict[str, LabelledImages] = {}

    @abstractmethod
    def read_source(self, source: str, class_names: Sequence[str] | None) -> LabelledImages:
        """Read the images of a source; with `class_names`, its labels are among these.

        Raises:
            UserError: something in it cannot be used.
        """

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"files": self.load_source("train").fingerprint()}

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class in all sources that were read."""
        labels = torch.cat([read.labels for read in self._read.values()])
        counts = torch.bincount(labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # known once the images are read
        return self.given_class_names or self.load_source("train").class_names

    def read_split(self, split: str) -> Batch:
        if self.sources[split] is not None and (split != "train" or self.sources["test"] is not None):
            return self.load_source(split)[:2]
        whole = self.load_source("train")
        count = resolve_split_size("test_size", self.test_size, len(whole.labels))
        kept, held_out = stratified_split(whole.labels, count, self.split_seed)
        chosen = held_out if split == "test" else kept
        return whole.images[chosen], whole.labels[chosen]

    def load_source(self, split: str) -> LabelledImages:
        """Return what the source of a split holds, which is read once.

        Raises:
            UserError: something in it cannot be used, or is in the source of another split too.
        """
        if split not in self._read:
            source = str(self.sources[split])
            found = self.read_source(source, self.given_class_names if split == "train" else self.class_names)
            count = len(found.class_names)
            if count < 2:
                raise UserError(f"{source}: all images are of one class; there is nothing to tell apart")
            if count > MAX_CLASSES:
                raise UserError(f"{source}: has {count:,} classes, more than {MAX_CLASSES:,}")
            for other, read in self._read.items():
                known = read.file_ids()
                if shared := [path for file_id, path in found.file_ids().items() if file_id in known]:
                    raise UserError(
                        f"{source}: {len(shared)} of its images are in {self.sources[other]} too, such as "
                        f"{shared[0]}; each image must be in one split only"
                    )
            self._read[split] = found
        return self._read[split]


def read_resized(path: Path, mode: Mode, size: tuple[int, int]) -> Tensor:
    """Read an image of the reader's own, and bring it to the height and width of the others.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return resize(read_image(path, mode), size)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
