"""The base of the data modules that read custom images."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from fashion_mlp.config.messages import did_you_mean
from fashion_mlp.data.dataset import count_held_out, stratified_split
from fashion_mlp.data.image_io import Mode, read_image, resize
from fashion_mlp.data.module import Batch, ImageDataModule
from fashion_mlp.runtime.errors import UserError

# A confusion matrix has the square of this number of entries.
MAX_CLASSES = 10_000
# Digits of a label that is a number.
MAX_DIGITS = 9

# Prefixes of `source_key` for the sources of the splits.
PREFIXES = {"train": "", "val": "val_", "test": "test_"}


class Sample(NamedTuple):
    """An image file, its label, and the place that names it, as the beginning of an error message."""

    path: Path
    label: str
    place: str = ""


class LabelledImages(NamedTuple):
    """Images, uint8 `[N, C, H, W]`, labels, int64 `[N]`, and the names of the classes.

    The fingerprint is a checksum of the names, classes and sizes of the files, independent of their directory.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    fingerprint: str


class CustomImagesDataModule(ImageDataModule):
    """Custom images: a source of training images, and optional sources for validation and test.

    Labels are names, or numbers. If `class_names` are given, a label is one of them or its index; otherwise the classes
    are the labels that occur, in numerical or else in alphabetical order.

    Args:
        sources: the source of each split; None to hold out some of the training images.
        image_size: height and width to which all images are resized.
        mode: "gray" for one channel, "rgb" for three.
        test_size: number of images, or their fraction if less than 1, to hold out for the test, stratified by class,
            if it has no source.
        class_names: the classes, in the order of the labels; by default those of the training images.
        val_size: number or fraction of the remaining images to hold out for validation.
        **loading: further arguments of `ImageDataModule`.

    Attributes:
        layout: description of a valid source, for error messages.
    """

    layout: ClassVar[str]

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
        self.mode = mode
        self.test_size = test_size
        self.has_own_val = "val" in self.sources
        self.image_shape = (1 if mode == "gray" else 3, image_size[0], image_size[1])
        self.given_class_names = tuple(class_names) if class_names else None
        self.name = f"custom images ({Path(self.sources['train']).name})"
        self._loaded: dict[str, LabelledImages] = {}
        # The path of each image that was read, by the path without symbolic links.
        self._paths: dict[Path, Path] = {}

    @abstractmethod
    def list_samples(self, source: str) -> list[Sample]:
        """Return the samples of a source, without reading the images.

        Raises:
            UserError: the source cannot be read, or an entry is not valid.
        """

    @property
    def identity(self) -> dict[str, Any]:
        splits = [split for split in self.sources if split != "test"]
        return super().identity | {f"{PREFIXES[split]}files": self.load_source(split).fingerprint for split in splits}

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # known after the images are read
        return self.given_class_names or self.load_source("train").class_names

    def read_split(self, split: str) -> Batch:
        if split in self.sources and (split != "train" or "test" in self.sources):
            return self.load_source(split)[:2]
        images, labels = self.load_source("train")[:2]
        count = count_held_out("test_size", self.test_size, len(labels))
        is_test = stratified_split(labels, count, self.split_seed)
        is_selected = is_test if split == "test" else ~is_test
        return images[is_selected], labels[is_selected]

    def load_source(self, split: str) -> LabelledImages:
        """Return the content of the source of a split, which is read once.

        Raises:
            UserError: something in it cannot be used, or is also in the source of another split.
        """
        if split in self._loaded:
            return self._loaded[split]
        source = self.sources[split]
        samples = self.list_samples(source)
        if not samples:
            raise UserError(f"{source}: no images. Expected {self.layout}")
        names = (self.given_class_names if split == "train" else self.class_names) or _find_class_names(samples)
        classes = _find_classes(source, samples, names)
        images = torch.stack(self._read_images(samples))
        if not 2 <= len(names) <= MAX_CLASSES:
            raise UserError(f"{source}: number of classes is {len(names):,}. Expected 2 to {MAX_CLASSES:,}")
        labels = [classes[label] for _, label, _ in samples]
        files = sorted(f"{names[classes[label]]}/{path.name} {path.stat().st_size}" for path, label, _ in samples)
        fingerprint = hashlib.sha256("\n".join(files).encode(errors="surrogateescape")).hexdigest()
        self._loaded[split] = LabelledImages(images, torch.tensor(labels), names, fingerprint)
        return self._loaded[split]

    def _read_images(self, samples: Sequence[Sample]) -> list[Tensor]:
        images: list[Tensor] = []
        problems: list[str] = []
        for path, _, place in samples:
            try:
                images.append(resize(read_image(path, self.mode), self.image_shape[1:]))
                if (first := self._paths.setdefault(path.resolve(), path)) is not path:
                    raise UserError(f"is already listed as {first}. Expected each image once in all splits")
            except UserError as error:
                problems.append(f"{place}{path} {error}")
        if problems:
            raise UserError(*problems)
        return images


def _find_class_names(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the labels that occur, in numerical order if all are numbers, else in alphabetical order."""
    labels = sorted({label for _, label, _ in samples})
    return tuple(sorted(labels, key=int) if all(map(_is_number, labels)) else labels)


def _find_classes(source: str, samples: Sequence[Sample], class_names: Sequence[str]) -> dict[str, int]:
    """Return the index of the class of each label.

    Raises:
        UserError: a label is not a class; one message for the first image of each such label.
    """
    classes = {name: index for index, name in enumerate(class_names)}
    problems: dict[str, str] = {}
    for _, label, place in samples:
        if _is_number(label) and int(label) < len(class_names):
            classes.setdefault(label, int(label))
        elif label not in classes and label not in problems:
            suggestion = did_you_mean(label, class_names)
            problems[label] = f"{place or f'{source}: '}the label {label!r} is not a class{suggestion}"
    if problems:
        raise UserError(*problems.values())
    return classes


def _is_number(label: str) -> bool:
    return label.isdecimal() and len(label) <= MAX_DIGITS
