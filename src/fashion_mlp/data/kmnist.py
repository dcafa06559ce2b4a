"""Kuzushiji-MNIST (Clanuwat et al., 2018, arXiv 1812.01718)."""

from torchvision import datasets

from fashion_mlp.data.mnist import MNISTDataModule


class KMNISTDataModule(MNISTDataModule, option="kmnist"):
    """60,000 training and 10,000 test images of ten cursive Japanese characters."""

    name = "Kuzushiji-MNIST"
    dataset = datasets.KMNIST
