"""Data modules: images as uint8 tensors in memory, fetched by whole batches."""

from fashion_mlp.data.fashion_mnist import FashionMNISTDataModule
from fashion_mlp.data.module import ImageDataModule
from fashion_mlp.data.synthetic import SyntheticDataModule

__all__ = ["FashionMNISTDataModule", "ImageDataModule", "SyntheticDataModule"]
