"""The base of the data modules that read custom images."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from fashion_mlp.data.dataset import count_held_out, stratified_split
from fashion_mlp.data.image_io import Mode, read_image, resize
from fashion_mlp.data.module import Batch, ImageDataModule
from fashion_mlp.runtime.errors import UserError

# A confusion matrix has the square of this number of entries.
MAX_CLASSES = 10_000

# Prefixes of `source_key` for the sources of the splits.
PREFIXES = {"train": "", "val": "val_", "test": "test_"}


class LabelledImages(NamedTuple):
    """Images, uint8 `[N, C, H, W]`, labels, int64 `[N]`, the names of the classes, and the paths of the images."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    paths: Sequence[Path]

    def fingerprint(self) -> str:
        """Return a checksum of the names, classes and sizes of the files, which does not depend on their directory."""
        files = zip(self.paths, self.labels.tolist(), strict=True)
        lines = sorted(f"{self.class_names[label]}/{path.name} {path.stat().st_size}" for path, label in files)
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


class CustomImagesDataModule(ImageDataModule):
    """Custom images: a source of training images, and optional sources for validation and test.

    Args:
        sources: the source of each split; None to hold out some of the training images.
        image_size: height and width to which all images are resized.
        mode: "gray" for one channel, "rgb" for three.
        test_size: number of images, or their fraction if less than 1, to hold out for the test, stratified by class,
            if it has no source.
        class_names: the classes, in the order of the labels; by default those of the training images.
        val_size: number or fraction of the remaining images to hold out for validation.
        **loading: arguments of `ImageDataModule`.
    """

    def __init__(
        self,
        sources: Mapping[str, str | None],
        image_size: Sequence[int] = (28, 28),
        mode: Mode = "gray",
        test_size: float = 0.2,
        class_names: Sequence[str] | None = None,
        val_size: float = 0.1,
        **loading: Any,
    ) -> None:
        super().__init__(val_size=val_size, **loading)
        self.sources = {split: source for split, source in sources.items() if source is not None}
        self.arguments = {f"{PREFIXES[split]}{self.source_key}": source for split, source in self.sources.items()}
        self.arguments |= {"image_size": list(image_size), "mode": mode, "test_size": test_size}
        self.image_size = (image_size[0], image_size[1])
        self.mode = mode
        self.test_size = test_size
        self.has_own_val = "val" in self.sources
        self.image_shape = (1 if mode == "gray" else 3, *self.image_size)
        self.given_class_names = tuple(class_names) if class_names else None
        self.name = f"custom images ({Path(self.sources['train']).name})"
        self._loaded: dict[str, LabelledImages] = {}

    @abstractmethod
    def read_source(self, source: str, class_names: Sequence[str] | None) -> LabelledImages:
        """Read the images of a source, whose classes are `class_names` if given.

        Raises:
            UserError: an image or a label cannot be used.
        """

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"files": self.load_source("train").fingerprint()}

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # known after the images are read
        return self.given_class_names or self.load_source("train").class_names

    def read_split(self, split: str) -> Batch:
        if split in self.sources and (split != "train" or "test" in self.sources):
            return self.load_source(split)[:2]
        images, labels, _, _ = self.load_source("train")
        count = count_held_out("test_size", self.test_size, len(labels))
        kept, held_out = stratified_split(labels, count, self.split_seed)
        indices = held_out if split == "test" else kept
        return images[indices], labels[indices]

    def load_source(self, split: str) -> LabelledImages:
        """Return the content of the source of a split, which is read once.

        Raises:
            UserError: something in it cannot be used, or is also in the source of another split.
        """
        if split in self._loaded:
            return self._loaded[split]
        source = self.sources[split]
        loaded = self.read_source(source, self.given_class_names if split == "train" else self.class_names)
        if not 2 <= len(loaded.class_names) <= MAX_CLASSES:
            raise UserError(
                f"{source}: number of classes is {len(loaded.class_names):,}. Expected 2 to {MAX_CLASSES:,}"
            )
        for other, images in self._loaded.items():
            known = {path.resolve() for path in images.paths}
            if shared := [path for path in loaded.paths if path.resolve() in known]:
                raise UserError(
                    f"{source}: {len(shared)} of its images are also in {self.sources[other]}, such as {shared[0]}. "
                    "Expected each image in one split only"
                )
        self._loaded[split] = loaded
        return loaded


def read_resized(path: Path, mode: Mode, size: tuple[int, int]) -> Tensor:
    """Read an image and resize it to a height and width.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return resize(read_image(path, mode), size)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
