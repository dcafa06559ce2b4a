"""Test images whose classes are known, to pick from, and those that a classifier gets wrong."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.inference import evaluate


class GalleryImage(NamedTuple):
    """An image, uint8 `[C, H, W]`, and what is said of it."""

    image: Tensor
    caption: str


def test_images(data: ImageDataModule, numbers: Sequence[int]) -> list[GalleryImage]:
    """Return the test images with these numbers, counted from 0 as `fashion-mlp predict --test-samples` does."""
    return [
        GalleryImage(image, f"{number:,}: {data.class_names[label]}")
        for number, image, label in zip(numbers, *_taken(data, numbers), strict=True)
    ]


def confident_mistakes(classifier: Classifier, data: ImageDataModule, count: int) -> list[GalleryImage]:
    """Return the test images that a classifier is surest about and wrong, at most `count`, surest first."""
    outcome = evaluate.run(classifier, data.loader("test"))
    worst = evaluate.most_confident_mistakes(outcome, count)
    surest, guesses = outcome.logits[worst].softmax(1).max(1)
    names = classifier.class_names
    return [
        GalleryImage(image, f"{data.class_names[label]}, taken for {names[guess]} ({probability:.0%})")
        for image, label, guess, probability in zip(
            *_taken(data, worst.tolist()), guesses.tolist(), surest.tolist(), strict=True
        )
    ]


def _taken(data: ImageDataModule, numbers: Sequence[int]) -> tuple[Tensor, list[int]]:
    images, labels = data.splits["test"].__getitems__(numbers)
    return images, labels.tolist()
