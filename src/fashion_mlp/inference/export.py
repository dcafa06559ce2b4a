"""Export a classifier's network to a file for use elsewhere, from raw pixels to logits."""

import json
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import IO, Any

import torch
from torch import Tensor
from torch.func import functional_call

from fashion_mlp.classifier import Classifier
from fashion_mlp.models import MLP
from fashion_mlp.models.preprocessing import PixelNormalization
from fashion_mlp.runtime.errors import UserError


def export_state_dict(classifier: Classifier, file: IO[bytes], *, prefix: str = "", input_max: float = 255.0) -> None:
    """Write weights for a plain `nn.Sequential`, with the normalization of the pixels folded into its first layer.

    Args:
        classifier: classifier whose network is an `MLP`.
        file: file to write, for `torch.load(weights_only=True)`.
        prefix: prefix of the name of each weight, such as "linear_relu_stack.".
        input_max: value of a white pixel: 255 for raw pixels, 1 after torchvision's `ToTensor`.

    Raises:
        UserError: the network is not an MLP, or does not normalize its pixels.
    """
    model = classifier.model
    if not isinstance(model, MLP) or not isinstance(model.preprocessing, PixelNormalization):
        raise UserError("--format state_dict: not possible. Expected an MLP without model.pixel_bins; use torch_export")
    pixels = model.preprocessing
    weights = {name: value.detach().cpu().clone() for name, value in model.layers.state_dict().items()}
    weights["0.bias"] += weights["0.weight"].sum(1) * pixels.shift.cpu()
    weights["0.weight"] *= pixels.scale.cpu() * 255 / input_max
    torch.save({f"{prefix}{name}": value for name, value in weights.items()}, file)


def export_onnx(classifier: Classifier, file: IO[bytes]) -> None:
    """Write an ONNX file with the input `images`, uint8 `[N, C, H, W]`, and the output `logits`.

    Its metadata contain `class_names`, a list in JSON.

    Args:
        classifier: classifier in evaluation mode.
        file: file to write.

    Raises:
        UserError: the extra `onnx` is not installed.
    """
    if not all(map(find_spec, ("onnxruntime", "onnxscript"))):
        raise UserError("--format onnx: package missing. Type python -m pip install -e '.[onnx]'")
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
    exported = torch.onnx.export(_to_program(classifier), dynamo=True, verbose=False, **names)
    assert exported is not None
    proto = exported.model_proto
    proto.metadata_props.add(key="class_names", value=json.dumps(list(classifier.class_names)))
    file.write(proto.SerializeToString())


def export_program(classifier: Classifier, file: IO[bytes]) -> None:
    """Write a classifier in evaluation mode as a `torch.export` program, which runs without this package.

    The file contains `class_names`, a list in JSON.
    """
    class_names = json.dumps(list(classifier.class_names))
    torch.export.save(_to_program(classifier), file, extra_files={"class_names": class_names})


def load_exported(path: Path, classifier: Classifier, *, input_max: float = 255.0) -> Callable[[Tensor], Tensor]:
    """Load a file that this process has exported, as a function from raw pixels to logits.

    No command loads exported files of others.

    Args:
        path: the file; its suffix is that of its format.
        classifier: the classifier that was exported.
        input_max: the value that it was exported with.
    """
    if path.suffix == ".onnx":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # since 1.29 it is sent, and written to the home directory
        session = import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    assert isinstance(classifier.model, MLP)
    layers = classifier.model.layers
    weights = dict(zip(layers.state_dict(), torch.load(path, weights_only=True).values(), strict=True))
    return lambda images: functional_call(layers, weights, images.flatten(1) * (input_max / 255))


def usage(path: Path, classifier: Classifier, *, prefix: str = "", input_max: float = 255.0) -> str:
    """Return a few lines of Python that classify a black image with an exported file.

    Args:
        path: the file; its suffix is that of its format.
        classifier: the classifier that was exported.
        prefix: the prefix that it was exported with.
        input_max: the value that it was exported with.
    """
    layers = ", ".join(f"nn.{layer!r}" for layer in getattr(classifier.model, "layers", ()))
    values = {
        "path": repr(str(path)),
        "shape": [1, *classifier.metadata["model"]["image_shape"]],
        "layers": layers.replace("nn.FastDropout(", "nn.Dropout("),
        "prefix": repr(prefix),
        "input_max": f"{input_max:g}",
    }
    return Template(Path(__file__).with_name(f"usage{path.suffix}.txt").read_text()).substitute(values).rstrip()


@torch.inference_mode()
def compare(classifier: Classifier, exported: Callable[[Tensor], Tensor], images: Tensor) -> tuple[float, int]:
    """Compare the logits of a classifier on the CPU with those of its exported network, on raw pixels.

    Returns:
        The largest difference between logits, and the number of images whose predictions differ.
    """
    expected, actual = classifier(images), exported(images)
    return float((expected - actual).abs().max()), int((expected.argmax(1) != actual.argmax(1)).sum())


def _to_program(classifier: Classifier) -> torch.export.ExportedProgram:
    """Trace the network for batches of any size; `torch.export` would take an example of one image for a constant."""
    example = torch.zeros(2, *classifier.metadata["model"]["image_shape"], dtype=torch.uint8)
    return torch.export.export(classifier.model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
