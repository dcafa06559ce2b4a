"""Tests of the cards with results, without the page."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fashion_mlp.cli.main import main
from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo import cards
from fashion_mlp.inference.photo.classifier import PhotoClassifier, PhotoPrediction
from fashion_mlp.models import MLP
from tests.demo.conftest import png


def bars(card: str) -> list[tuple[str, str]]:
    """Return the classes and probabilities on a card, from top to bottom."""
    return [(unescape(name), text) for name, text in re.findall(r'"row">(.*?)</th>.*?</td><td>(.*?)</td></tr>', card)]


def test_page_command_and_python_agree(
    checkpoint: Path, classifier: PhotoClassifier, image_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(image_dir.iterdir())
    assert main(["predict", str(checkpoint), str(image_dir), "--json"]) == 0
    predictions = json.loads(capsys.readouterr().out)
    assert [Path(prediction["image"]) for prediction in predictions] == files
    for file, prediction in zip(files, predictions, strict=True):
        _, card = cards.render_answer(file.read_bytes(), {"first": classifier})
        assert len(bars(card)) == 10
        top = [(entry["class"], f"{entry['probability']:.1%}") for entry in prediction["top"]]
        assert bars(card)[:3] == top
        assert ("Unreliable" in card) == prediction["novel"] == classifier.predict_photo(file).is_novel
        names, probabilities = classifier.predict(file)
        assert names == [prediction["class"]]
        assert float(probabilities.max()) == pytest.approx(prediction["probability"], abs=1e-6)


def test_gallery_image_is_converted_for_each_classifier(
    classifier: PhotoClassifier, data: ImageDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    images: dict[str, Tensor] = {}

    def record_image(name: str, prediction: PhotoPrediction, classifier: object) -> str:
        images[name] = prediction.image
        return name

    monkeypatch.setattr(cards, "render_card", record_image)
    other = PhotoClassifier(
        MLP(image_shape=(3, 14, 20), num_classes=2, hidden_sizes=[4]),
        ("hat", "sock"),
        metadata={"model": {"image_shape": [3, 14, 20]}, "data": {"option": "image_csv"}},
    )
    image = data.splits["test"].images[0]
    message, *_ = cards.render_answer(
        cards.encode_png(image), {"first": classifier, "other": other}, "Test image 0: <b>"
    )
    assert message == '<p role="status">Test image 0: &lt;b&gt;</p>'
    assert torch.equal(images["first"], image)
    assert images["other"].shape == (3, 14, 20)


def test_photograph_without_an_object_gets_a_message(classifier: PhotoClassifier) -> None:
    message, card = cards.render_answer(png(Image.new("RGB", (300, 200), "orange")), {"first": classifier})
    assert "The file is refused: no object found: nothing stands out from the background." in message
    assert bars(card) == []


def test_image_unlike_the_training_images_gets_a_note(classifier: PhotoClassifier) -> None:
    noise = Image.effect_noise((10, 10), 100).resize((200, 200), Image.Resampling.NEAREST)
    _, card = cards.render_answer(png(ImageOps.expand(noise, 50, "white")), {"first": classifier})
    assert "Unreliable: unlike the training images" in card
