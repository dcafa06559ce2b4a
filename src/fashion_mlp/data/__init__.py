"""Data modules: images as uint8 tensors in memory, fetched by whole batches."""

from fashion_mlp.data.augmentation import Augmentation
from fashion_mlp.data.fashion_mnist import FashionMNISTDataModule
from fashion_mlp.data.image_csv import CSVImageDataset, ImageCSVDataModule
from fashion_mlp.data.image_folder import ImageFolderDataModule
from fashion_mlp.data.module import ImageDataModule
from fashion_mlp.data.registry import build_datamodule
from fashion_mlp.data.synthetic import SyntheticDataModule

__all__ = [
    "Augmentation",
    "CSVImageDataset",
    "FashionMNISTDataModule",
    "ImageCSVDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "SyntheticDataModule",
    "build_datamodule",
]
