"""A classifier's network as a file for use elsewhere: raw pixels in, logits out."""

import os
from collections.abc import Callable, Iterable
from copy import deepcopy
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.module import Batch
from fashion_mlp.models import MLP
from fashion_mlp.models.preprocessing import PixelNormalization
from fashion_mlp.runtime.atomic import replacing
from fashion_mlp.runtime.errors import UserError

# Each format, and how its files end.
FORMATS = {"state_dict": ".pt", "onnx": ".onnx", "torch_export": ".pt2"}
# The dimensions of the one argument that are not fixed.
ANY_BATCH = ({0: torch.export.Dim("batch")},)


class ExportCheck(NamedTuple):
    """How an exported file compares with the classifier: largest difference of a logit, classes that differ, images."""

    largest_difference: float
    differing_classes: int
    images: int


def export_state_dict(classifier: Classifier, path: Path, *, prefix: str = "", input_max: float = 255.0) -> None:
    """Write the weights for a plain `nn.Sequential`, the pixels' normalisation folded into its first layer.

    Args:
        classifier: its network is an `MLP`.
        path: where to write; opens with `torch.load(weights_only=True)`.
        prefix: what the names of the weights begin with, such as "linear_relu_stack.".
        input_max: what a white pixel will be: 255 for raw pixels, 1 after torchvision's `ToTensor`.

    Raises:
        UserError: the network is of another kind, whose first layer is not known, or its pixels are not normalised.
    """
    model = classifier.model
    if not isinstance(model, MLP):
        raise UserError(f"--format state_dict: is for an MLP, and this is a {type(model).__name__}; use torch_export")
    weights = {name: value.detach().cpu().clone() for name, value in model.layers.state_dict().items()}
    pixels = model.preprocessing
    if not isinstance(pixels, PixelNormalization):
        raise UserError("--format state_dict: no layer can hold what model.pixel_bins does to pixels; use torch_export")
    scale, shift = pixels.scale.cpu(), pixels.shift.cpu()
    weights["0.bias"] += weights["0.weight"].sum(1) * shift
    weights["0.weight"] *= scale * 255 / input_max
    with replacing(path) as file:
        torch.save({f"{prefix}{name}": value for name, value in weights.items()}, file)


def export_onnx(classifier: Classifier, path: Path) -> None:
    """Write an ONNX file with the input `images`, uint8 `[N, C, H, W]`, and the output `logits`.

    Args:
        classifier: in evaluation mode.
        path: where to write.

    Raises:
        UserError: the extra `onnx` is not installed.
    """
    try:
        _onnxruntime()
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("--format onnx: needs python -m pip install -e '.[onnx]'") from error
    program = torch.onnx.export(
        classifier.model,
        _example(classifier),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=ANY_BATCH,
    )
    assert program is not None
    with replacing(path) as file:
        file.write(program.model_proto.SerializeToString())


def export_program(classifier: Classifier, path: Path) -> None:
    """Write a classifier in evaluation mode as a `torch.export` program, which runs without this package."""
    program = torch.export.export(classifier.model, _example(classifier), dynamic_shapes=ANY_BATCH)
    content = BytesIO()
    torch.export.save(program, content)
    with replacing(path) as file:
        file.write(content.getvalue())


def load_exported(path: Path, classifier: Classifier, *, input_max: float = 255.0) -> Callable[[Tensor], Tensor]:
    """Load a file that was just exported, of the format that its ending names, as a function from raw pixels to logits.

    Only for the project's own files: no command loads those of others.

    Args:
        path: the file.
        classifier: what it was exported from; gives a state dict the layers that it is loaded into.
        input_max: as it was exported with.
    """
    if path.suffix == FORMATS["onnx"]:
        session = _onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    if path.suffix == FORMATS["torch_export"]:
        return torch.export.load(path).module()
    assert isinstance(classifier.model, MLP)
    plain = deepcopy(classifier.model.layers).cpu()
    weights = torch.load(path, weights_only=True)
    plain.load_state_dict(dict(zip(plain.state_dict(), weights.values(), strict=True)))
    return lambda images: plain(images.flatten(1) * (input_max / 255))


@torch.inference_mode()
def compare(classifier: Classifier, exported: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> ExportCheck:
    """Put the same images through a classifier, on the CPU, and what was exported from it."""
    largest, differing, count = 0.0, 0, 0
    for images, _ in batches:
        expected, actual = classifier(images), exported(images)
        largest = max(largest, float((expected - actual).abs().max()))
        differing += int((expected.argmax(1) != actual.argmax(1)).sum())
        count += len(images)
    return ExportCheck(largest, differing, count)


def _onnxruntime() -> Any:
    """Import the ONNX runtime, which since 1.29 reports to its maker and writes into the home folder, unless told."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")


def _example(classifier: Classifier) -> tuple[Tensor]:
    """Return the argument of an example call, a batch of two: with one image, its size would be taken for fixed."""
    return (torch.zeros(2, *classifier.metadata["model"]["image_shape"], dtype=torch.uint8),)
