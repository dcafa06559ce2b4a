"""Tests of `PhotoClassifier` on what users have: files, images, arrays and tensors."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.mnist import FashionMNISTDataModule
from fashion_mlp.data.synthetic import draw_garments
from fashion_mlp.inference.photo.classifier import PhotoClassifier, PhotoPrediction, read_photo
from fashion_mlp.inference.photo.novelty import describe_images, is_novel
from fashion_mlp.inference.photo.rendering import render
from fashion_mlp.inference.photo.segmentation import find_object
from fashion_mlp.models import MLP
from fashion_mlp.runtime.errors import UserError
from tests.photographs import KINDS, take_photograph


@pytest.fixture(scope="module")
def classifier() -> PhotoClassifier:
    torch.manual_seed(0)
    class_names = [f"class {index}" for index in range(10)]
    metadata = {
        "model": {"image_shape": [1, 28, 28]},
        "data": {"option": "fashion_mnist"},
        "class_names": class_names,
        "novelty": describe_images(torch.from_numpy(draw_garments(2000, seed=1)[0]).unsqueeze(1)),
    }
    return PhotoClassifier(MLP(hidden_sizes=[16]), class_names, metadata=metadata)


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    image = torch.from_numpy(draw_garments(1, seed=0)[0])
    with Image.open(BytesIO(take_photograph(image, KINDS["blue on orange"], seed=0))) as photo:
        return photo.convert("RGB")


def to_png(image: Tensor) -> bytes:
    content = BytesIO()
    Image.fromarray(image[0].numpy()).save(content, "PNG")
    return content.getvalue()


def test_each_type_of_photograph_gets_the_same_answer(
    classifier: PhotoClassifier, photograph: Image.Image, tmp_path: Path
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


@pytest.mark.real_data
def test_photographs_of_garments_are_not_novel(real_data: Path) -> None:
    images, _ = FashionMNISTDataModule(root=real_data, mirrors=[]).read_split("train")
    description = describe_images(images[:10_000])
    for seed, kind in enumerate(KINDS.values()):
        photo = read_photo(take_photograph(images[10_000 + seed], kind, seed), "rgb")
        views = render(find_object(photo))
        assert not is_novel(views[0].flip(-1) if kind.is_mirrored else views[0], description)


@pytest.mark.parametrize("text", [*"AEKMSWX", "noise"])
def test_letters_and_noise_are_novel(classifier: PhotoClassifier, text: str) -> None:
    photo = Image.new("RGB", (300, 300), "white")
    if text == "noise":
        photo.paste(Image.effect_noise((10, 10), 100).resize((200, 200), Image.Resampling.NEAREST), (50, 50))
    else:
        ImageDraw.Draw(photo).text((150, 150), text, "black", ImageFont.load_default(200), anchor="mm")
    assert classifier.predict_photo(photo).is_novel
    metadata = {key: value for key, value in classifier.metadata.items() if key != "novelty"}
    older = PhotoClassifier(classifier.model, classifier.class_names, metadata=metadata)
    assert not older.predict_photo(photo).is_novel


@pytest.mark.slow
@pytest.mark.real_data
def test_all_test_images_as_png_get_the_same_answers(classifier: PhotoClassifier, real_data: Path) -> None:
    images, _ = FashionMNISTDataModule(root=real_data, mirrors=[]).read_split("test")
    for image, name in zip(images, classifier.predict(images).names, strict=True):
        prediction = classifier.predict_photo(to_png(image))
        assert torch.equal(prediction.image, image)
        assert classifier.class_names[int(prediction.probabilities.argmax())] == name


def test_image_of_the_data_set_is_not_converted(classifier: PhotoClassifier) -> None:
    images = torch.from_numpy(draw_garments(20, seed=0)[0]).unsqueeze(1)
    probabilities = classifier.predict(images).probabilities
    for image, expected in zip(images, probabilities, strict=True):
        prediction = classifier.predict_photo(to_png(image))
        assert torch.equal(prediction.image, image)
        assert not prediction.is_mirrored
        assert torch.allclose(prediction.probabilities, expected, atol=1e-6)


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
def test_other_input_is_refused(classifier: PhotoClassifier, images: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        classifier.predict(images)


def test_only_a_classifier_from_a_checkpoint_takes_photographs(photograph: Image.Image) -> None:
    with pytest.raises(UserError, match=r"images: not a tensor. Use a classifier of fashion_mlp.load_classifier"):
        Classifier(MLP([4]), [*"abcdefghij"]).predict(photograph)


def test_steps_show_whole_images() -> None:
    small, wide = (torch.full(shape, 200, dtype=torch.uint8) for shape in ((1, 28, 14), (3, 100, 400)))
    steps = PhotoPrediction(torch.zeros(10), wide, small, small).steps()
    assert [step.shape for step in steps] == [(3, 168, 168)] * 3
    assert (steps[0][0, 84] == 200).all()
    assert steps[0][0, 0].max() == 0
