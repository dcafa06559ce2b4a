"""Fixtures that run a command of `fashion-mlp` in this process, and its input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from fashion_mlp.cli.main import main
from fashion_mlp.inference.test_data import build_untrusted_datamodule
from fashion_mlp.training import train
from tests.conftest import CONF, SMALL


class Result:
    """The exit status and output of a command."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


RunCLI = Callable[..., Result]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    """Return a checkpoint that is trained once for all tests."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    augment = "data.augment.hflip=0.5", "data.augment.translate=1"
    overrides = [*SMALL, f"data.root={data_root}", f"run_dir={run_dir}", "test=true", "trainer.max_epochs=4", *augment]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("train", overrides=overrides))
    return run_dir / "checkpoints" / "best.ckpt"


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCLI:
    """Return a function that runs a command of `fashion-mlp` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status, message = (1, error.code) if isinstance(error.code, str) else (int(error.code or 0), "")
            out, err = capsys.readouterr()
            return Result(status, out, err + message)
        return Result(status, *capsys.readouterr())

    return run


@pytest.fixture
def root(data_root: Path) -> str:
    return f"data.root={data_root}"


@pytest.fixture
def second(checkpoint: Path, tmp_path: Path) -> Path:
    """Return a checkpoint with different weights, for an ensemble."""
    content = torch.load(checkpoint, weights_only=True)
    for weight in content["state_dict"].values():
        weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * weight.std() / 2
    path = tmp_path / "second.ckpt"
    torch.save(content, path)
    return path


@pytest.fixture
def image_dir(checkpoint: Path, root: str, tmp_path: Path) -> Path:
    """Return a directory with the first 20 test images as PNG files, beside a CSV file of their labels."""
    images, labels = read_test_images(root)
    directory = tmp_path / "image_dir"
    directory.mkdir()
    for number, image in enumerate(images[:20]):
        Image.fromarray(image[0].numpy()).save(directory / f"{number:02}.png")
    rows = "\n".join(f"{number:02}.png,{label}" for number, label in enumerate(labels[:20].tolist()))
    (tmp_path / "labels.csv").write_text(f"file name,label\n{rows}\n")
    return directory


def read_test_images(root: str) -> tuple[torch.Tensor, torch.Tensor]:
    arguments = {"root": root.partition("=")[2], "train_size": 600, "test_size": 200, "val_size": 100}
    data = build_untrusted_datamodule("synthetic", arguments)
    data.prepare_data()
    return data.read_split("test")
