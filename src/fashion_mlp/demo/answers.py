"""Pictures to answers, without a page: what `fashion-mlp predict` computes, timed and ready to be shown."""

import time
from io import BytesIO
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from fashion_mlp.classifier import Classifier
from fashion_mlp.inference.predict import load_image

# Of an uploaded file: more than a phone's photographs have.
MAX_BYTES = 20_000_000


class Answer(NamedTuple):
    """What a classifier saw, uint8 `[C, H, W]`; the probability of each class by name; how long both took."""

    image: Tensor
    probabilities: dict[str, float]
    milliseconds: float


def answer_file(content: bytes, classifier: Classifier) -> Answer:
    """Convert the content of a picture file as `fashion-mlp predict` does, and classify it.

    Raises:
        UserError: it cannot be read.
    """
    began = time.perf_counter()
    return _answer(load_image(content, classifier), classifier, began)


def answer_image(image: Tensor, classifier: Classifier) -> Answer:
    """Classify an image of a dataset, uint8 `[C, H, W]`, as it is if the classifier takes images of that shape."""
    if image.shape != tuple(classifier.metadata["model"]["image_shape"]):
        return answer_file(as_png(image), classifier)
    return _answer(image, classifier, time.perf_counter())


def as_png(image: Tensor) -> bytes:
    """Return an image, uint8 `[C, H, W]` of one channel or three, as the content of a PNG file."""
    content = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(content, "PNG")
    return content.getvalue()


def _answer(image: Tensor, classifier: Classifier, began: float) -> Answer:
    probabilities = classifier.predict(image.unsqueeze(0)).probabilities[0].tolist()
    by_name = dict(zip(classifier.class_names, probabilities, strict=True))
    return Answer(image, by_name, 1000 * (time.perf_counter() - began))
