"""Data modules: images as uint8 tensors in memory, fetched in whole batches."""

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
