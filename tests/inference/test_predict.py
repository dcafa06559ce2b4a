"""Tests of `Classifier.predict` and `classify` on what users have: files, images, arrays and tensors."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.synthetic import draw_garments
from fashion_mlp.inference.image_files import fit_square
from fashion_mlp.models import MLP
from fashion_mlp.runtime.errors import UserError
from tests.photographs import KINDS, take_photograph


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    metadata = {"model": {"image_shape": [1, 28, 28]}, "data": {"option": "fashion_mnist"}}
    return Classifier(MLP(hidden_sizes=[16]), [f"class {index}" for index in range(10)], metadata=metadata)


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    image = torch.from_numpy(draw_garments(1, seed=0)[0])
    with Image.open(BytesIO(take_photograph(image, KINDS["blue on orange"], seed=0))) as photo:
        return photo.convert("RGB")


def test_each_type_of_photograph_gets_the_same_answer(
    classifier: Classifier, photograph: Image.Image, tmp_path: Path
) -> None:
    photograph.save(tmp_path / "photo.png")
    array = np.asarray(photograph)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    photos = [tmp_path / "photo.png", str(tmp_path / "photo.png"), photograph, array, tensor]
    names, probabilities = classifier.predict(photos)
    assert len(set(names)) == 1
    for photo, expected in zip(photos, probabilities, strict=True):
        assert torch.equal(expected, probabilities[0])
        assert torch.equal(classifier.predict(photo).probabilities[0], expected)


def test_image_of_the_data_set_is_not_converted(classifier: Classifier) -> None:
    images = torch.from_numpy(draw_garments(20, seed=0)[0]).unsqueeze(1)
    probabilities = classifier.predict(images).probabilities
    for image, expected in zip(images, probabilities, strict=True):
        content = BytesIO()
        Image.fromarray(image[0].numpy()).save(content, "PNG")
        answer = classifier.classify(content.getvalue())
        assert torch.equal(answer.image, image)
        assert not answer.is_mirrored
        assert torch.allclose(answer.probabilities, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(5, 1, 28, 28), r"images: torch.float32 .* Expected uint8"),
        (torch.zeros(5, 3, 28, 28, dtype=torch.uint8), r"shape \[5, 3, 28, 28\]. Expected uint8 .* \[N, 1, 28, 28\]"),
        (torch.rand(1, 28, 28), "image 0 has the type float32. Expected uint8"),
        (np.zeros((28, 28)), "image 0 has the type float64. Expected uint8"),
        (np.zeros((5, 6, 7, 3), np.uint8), r"image 0 has the shape \[5, 6, 7, 3\]"),
        (np.zeros((100, 100, 3), np.uint8), "image 0 is refused: no object found"),
        ([Path("gone.png")], "image 0 is missing"),
    ],
)
def test_other_input_is_refused(classifier: Classifier, images: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        classifier.predict(images)


def test_figure_shows_the_whole_image() -> None:
    assert fit_square(torch.full((1, 28, 14), 200, dtype=torch.uint8)).shape == (3, 168, 168)
    squared = fit_square(torch.full((3, 100, 400), 200, dtype=torch.uint8))
    assert squared.shape == (3, 168, 168)
    assert (squared[0, 84] == 200).all()
    assert squared[0, 0].max() == 0
