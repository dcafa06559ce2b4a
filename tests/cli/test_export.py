"""Tests of `fashion-mlp export`."""

import os
import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fashion_mlp import load_classifier
from fashion_mlp.classifier import Classifier
from fashion_mlp.inference.export import export_state_dict, usage
from fashion_mlp.models import MLP
from fashion_mlp.runtime.errors import UserError
from tests.cli.conftest import RunCLI, read_test_images


@pytest.mark.parametrize(("kind", "ending"), [("state_dict", ".pt"), ("torch_export", ".pt2"), ("onnx", ".onnx")])
def test_export_agrees_with_the_classifier_and_contains_no_pickled_code(
    run_cli: RunCLI, checkpoint: Path, kind: str, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_cli("export", checkpoint, "--format", kind, "--output", f"directory/model{ending}")
    assert result.status == 0
    match = re.search(r"logits differ by at most (\S+), and 0 predictions differ on 20 images", result.out)
    assert match is not None
    assert float(match[1]) < 1e-4
    assert [path.name for path in Path("directory").iterdir()] == [f"model{ending}"]
    snippet = result.out.split("\n\n", 1)[1].strip()
    assert 3 <= len(snippet.splitlines()) <= 5
    values: dict[str, Any] = {}
    exec(snippet, values)
    black = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    expected = load_classifier(checkpoint)(black)
    assert torch.allclose(torch.as_tensor(values["logits"]), expected, atol=1e-4)
    name = load_classifier(checkpoint).class_names[int(expected.argmax())]
    assert capsys.readouterr().out == ("" if kind == "state_dict" else f"{name}\n")
    assert kind != "onnx" or os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    if kind == "torch_export":
        assert_no_pickled_code("directory/model.pt2")


def assert_no_pickled_code(path: str) -> None:
    """Check that the only pickle in an exported program is that of a tensor."""
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if archive.read(name).startswith((b"\x80", b"PK"))]
        assert [Path(name).name for name in pickles] == ["model.pt"]  # an example input, which is a tensor
        assert "uint8" in str(torch.load(BytesIO(archive.read(pickles[0])), weights_only=True))


def test_state_dict_loads_into_the_module_of_the_pytorch_tutorial(run_cli: RunCLI, checkpoint: Path, root: str) -> None:
    class NeuralNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flatten = nn.Flatten()
            self.linear_relu_stack = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.linear_relu_stack(self.flatten(x))
            return logits

    options = ("--format", "state_dict", "--prefix", "linear_relu_stack.", "--input-max", 1, "--output", "t.pt")
    assert run_cli("export", checkpoint, *options).status == 0
    network = NeuralNetwork()
    network.load_state_dict(torch.load("t.pt", weights_only=True))
    images, _ = read_test_images(root)
    expected = load_classifier(checkpoint)(images)
    assert torch.allclose(network(images / 255), expected, atol=1e-4)


def test_snippet_has_the_layers_and_the_prefix(tmp_path: Path) -> None:
    metadata = {"model": {"image_shape": [1, 28, 28]}}
    for model in (MLP([4, 3], norm="batch", dropout=0.5), MLP([4], norm="layer", activation="gelu"), MLP([])):
        classifier = Classifier(model, [*"abcdefghij"], metadata=metadata).eval()
        path = tmp_path / "it's.pt"
        with path.open("wb") as file:
            export_state_dict(classifier, file, prefix="net.", input_max=1)
        values: dict[str, Any] = {}
        exec(usage(path, classifier, prefix="net.", input_max=1), values)
        expected = model(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
        assert torch.allclose(values["logits"], expected, atol=1e-5)


def test_model_with_pixel_bins_is_not_exported_as_a_state_dict() -> None:
    classifier = Classifier(MLP([4], pixel_bins=[0, 10, 255]), [*"abcdefghij"])
    with pytest.raises(UserError, match=r"--format state_dict: not possible. Expected an MLP without model.pixel_bins"):
        export_state_dict(classifier, BytesIO())


def test_only_an_mlp_is_exported_as_a_state_dict(checkpoint: Path) -> None:
    classifier = load_classifier(checkpoint)
    classifier.model = nn.Flatten()
    with pytest.raises(UserError, match=r"--format state_dict: not possible. Expected an MLP"):
        export_state_dict(classifier, BytesIO())
