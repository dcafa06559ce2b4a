"""Data modules: images as uint8 tensors in memory, fetched in whole batches."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from fashion_mlp.data.augmentation import Augmentation
from fashion_mlp.data.image_csv import ImageCSVDataModule
from fashion_mlp.data.image_folder import ImageFolderDataModule
from fashion_mlp.data.mnist import FashionMNISTDataModule, MNISTDataModule
from fashion_mlp.data.module import ImageDataModule
from fashion_mlp.data.synthetic import SyntheticDataModule

__all__ = [
    "Augmentation",
    "FashionMNISTDataModule",
    "ImageCSVDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "MNISTDataModule",
    "SyntheticDataModule",
]


@cache
def data_modules() -> Mapping[str, type[ImageDataModule]]:
    """Import all modules of this package, whose data modules register themselves, and return these by option."""
    for module in iter_modules(__path__, f"{__name__}."):
        import_module(module.name)
    return ImageDataModule.registry


def find_data_module(option: str) -> type[ImageDataModule]:
    """Return the class of an option, for its attributes; the base class if there is no such option."""
    return data_modules().get(option, ImageDataModule)
