"""The reader's own images: a folder for each class, as torchvision's `ImageFolder` has it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torchvision.datasets import ImageFolder
from typing_extensions import override

from fashion_mlp.data.own_images import Labelled, OwnImagesDataModule
from fashion_mlp.data.pictures import SUFFIXES, read_picture, resize
from fashion_mlp.errors import UserError


class ImageFolderDataModule(OwnImagesDataModule):
    """Images in folders that are named by their classes: `img_dir/<class>/<image>`.

    Args:
        img_dir: the folder of the training images.
        val_img_dir: likewise for validation, instead of a part of the training images.
        test_img_dir: likewise for the test, instead of a part of the images in `img_dir`.
        **arguments: those of `OwnImagesDataModule`.
    """

    option = "image_folder"

    def __init__(
        self, img_dir: str, val_img_dir: str | None = None, test_img_dir: str | None = None, **arguments: Any
    ) -> None:
        super().__init__(sources={"train": img_dir, "val": val_img_dir, "test": test_img_dir}, **arguments)

    @property
    @override
    def identity(self) -> dict[str, Any]:
        names = {"train": "img_dir", "val": "val_img_dir", "test": "test_img_dir"}
        return self.described({names[split]: folder for split, folder in self.sources.items() if folder is not None})

    @override
    def read_source(self, source: str, class_names: Sequence[str] | None) -> Labelled:
        try:
            folder = ImageFolder(source, is_valid_file=lambda path: path.lower().endswith(SUFFIXES))
        except OSError as error:
            reason = error.strerror or str(error).rstrip(".")
            raise UserError(f"{source}: {reason}; images lie in folders by class: {source}/boot/1.png") from error
        names = tuple(class_names or folder.classes)
        problems = [f"{source}/{name}: is none of {', '.join(names)}" for name in folder.classes if name not in names]
        images, labels = [], []
        for path, index in folder.samples:
            try:
                images.append(resize(read_picture(Path(path), self.mode), self.image_size))
            except UserError as error:
                problems.append(f"{path} {error}")
            labels.append(folder.classes[index])
        if problems:
            raise UserError(*problems)
        return Labelled(torch.stack(images), torch.tensor([names.index(label) for label in labels]), names)
