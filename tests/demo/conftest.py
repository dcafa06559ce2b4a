"""Fixtures of the demo: a checkpoint that is trained once, and images."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image, ImageOps

from fashion_mlp import load_classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.inference.photo.classifier import PhotoClassifier
from fashion_mlp.inference.test_data import load_test_data
from fashion_mlp.training import train
from tests.conftest import CONF, SMALL


@pytest.fixture(scope="session", autouse=True)
def _temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use one temporary directory for all tests: Gradio remembers the first one of a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("temporary")))
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    run = tmp_path_factory.mktemp("demo") / "run"
    overrides = [*SMALL, f"data.root={data_root}", f"run_dir={run}", "trainer.max_epochs=4"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("train", overrides=overrides))
    return run / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def classifier(checkpoint: Path) -> PhotoClassifier:
    return load_classifier(checkpoint)


@pytest.fixture(scope="session")
def data(classifier: PhotoClassifier, data_root: Path) -> ImageDataModule:
    return load_test_data(classifier, [f"data.root={data_root}"])


@pytest.fixture(scope="session")
def ankle_boot(classifier: PhotoClassifier, data: ImageDataModule) -> Image.Image:
    """Return the test image of an ankle boot that is classified with the highest probability."""
    boots = data.splits["test"].images[data.splits["test"].labels == 9]
    probabilities = classifier.predict(boots).probabilities[:, 9]
    assert probabilities.max() > 0.5
    return Image.fromarray(boots[int(torch.argmax(probabilities)), 0].numpy())


@pytest.fixture(scope="session")
def image_dir(ankle_boot: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the image of the boot, a photograph on white and a transparent image."""
    directory = tmp_path_factory.mktemp("image_dir")
    ankle_boot.save(directory / "boot.jpg", quality=95)
    photograph = ImageOps.expand(ImageOps.invert(ankle_boot).resize((280, 280)), (40, 90), fill=255)
    photograph.save(directory / "photograph.jpg")
    photograph.convert("RGBA").rotate(10).save(directory / "transparent.png")
    return directory


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notes") / "notes.txt"
    path.write_text("not an image\n")
    return path


def png(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
