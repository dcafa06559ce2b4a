"""What the page computes, without the page."""

import json
from pathlib import Path

import pytest
import torch

from fashion_mlp.classifier import Classifier
from fashion_mlp.cli.main import main
from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo.answers import answer_file, answer_image, as_png
from fashion_mlp.demo.gallery import confident_mistakes, test_images
from fashion_mlp.models import MLP

test_images.__test__ = False  # type: ignore[attr-defined]  # no test, whatever its name


def test_it_answers_as_predict_does(
    checkpoint: Path, classifier: Classifier, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(pictures.iterdir())
    assert main(["predict", str(checkpoint), str(pictures), "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert [Path(line["image"]) for line in predicted] == files
    for file, line in zip(files, predicted, strict=True):
        probabilities = answer_file(file.read_bytes(), classifier).probabilities
        assert len(probabilities) == 10
        best = sorted(probabilities.items(), key=lambda entry: -entry[1])[:3]
        assert best == [(entry["class"], entry["probability"]) for entry in line["top"]]


def test_a_test_image_is_taken_as_it_is_or_converted(classifier: Classifier, data: ImageDataModule) -> None:
    image = data.splits["test"].images[0]
    answer = answer_image(image, classifier)
    assert torch.equal(answer.image, image)
    assert list(answer.probabilities.values()) == classifier.predict(image.unsqueeze(0)).probabilities[0].tolist()
    config = {"image_shape": [3, 14, 20]}
    other = Classifier(
        MLP(image_shape=(3, 14, 20), num_classes=2, hidden_sizes=[4]),
        ("worn", "new"),
        metadata={"model": config, "data": {"option": "image_csv"}},
    )
    converted = answer_image(image, other)
    assert converted.image.shape == (3, 14, 20)
    assert converted.probabilities.keys() == {"worn", "new"}
    assert torch.equal(answer_file(as_png(converted.image), other).image, converted.image)


def test_the_mistakes_are_those_it_is_surest_about(classifier: Classifier, data: ImageDataModule) -> None:
    mistakes = confident_mistakes(classifier, data, 5)
    assert len(mistakes) == 5
    images = torch.stack([mistake.image for mistake in mistakes])
    names, probabilities = classifier.predict(images)
    surest = probabilities.max(1).values
    assert surest.tolist() == sorted(surest.tolist(), reverse=True)
    for mistake, name, probability in zip(mistakes, names, surest.tolist(), strict=True):
        true, _, guess = mistake.caption.partition(", taken for ")
        assert guess == f"{name} ({probability:.0%})"
        assert true != name


def test_test_images_are_named_by_number_and_class(data: ImageDataModule) -> None:
    labels = data.splits["test"].labels.tolist()
    (image, caption), _ = test_images(data, [7, 0])
    assert torch.equal(image, data.splits["test"].images[7])
    assert caption == f"7: {data.class_names[labels[7]]}"
