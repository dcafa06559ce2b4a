"""Load classifiers from checkpoints, on their own or as an ensemble."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fashion_mlp.checkpoint.load import build_model, check_loadable, read_checkpoint
from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.data import find_data_module
from fashion_mlp.inference.photo.classifier import PhotoClassifier
from fashion_mlp.inference.photo.novelty import is_valid_description
from fashion_mlp.models import TTA, Ensemble
from fashion_mlp.runtime.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Return the device with this name; for "auto" the accelerator, or else the CPU.

    Raises:
        UserError: this machine has no such device.
    """
    available = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    if name not in ("auto", "cpu", available.type):
        raise UserError(f"--device {name}: not available on this machine. Type --device auto")
    return available if name == "auto" else torch.device(name)


def load_classifier(path: str | Path, device: str | torch.device = "cpu") -> PhotoClassifier:
    """Load the classifier of a checkpoint, in evaluation mode.

    Args:
        path: a `.ckpt` file that `train.py` saved.
        device: device of the classifier.

    Raises:
        UserError: `read_checkpoint` refuses the file, or its configuration names a class outside of this package and
            `torch.nn`.
    """
    checkpoint = read_checkpoint(path)
    metadata, weights = checkpoint[METADATA_KEY], checkpoint["state_dict"]
    if metadata.get("novelty") is not None and not is_valid_description(metadata["novelty"]):
        raise UserError(f"{path}: refused: no description of the training images")
    try:
        check_loadable(metadata["model"], weights.values())
        classifier = PhotoClassifier(build_model(metadata["model"]), metadata["class_names"], metadata=metadata)
        classifier.load_state_dict(weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # constructors raise errors of many types
        raise UserError(f"{path}: weights and configuration do not match ({error})") from error
    return classifier.to(device).eval()


def load_ensemble(paths: Sequence[Path], device: str = "cpu", *, tta: bool = False) -> PhotoClassifier:
    """Load checkpoints as one classifier in evaluation mode, which averages their probabilities.

    Args:
        paths: `.ckpt` files written by `train.py`, at least one.
        device: name of a device, or "auto".
        tta: apply `fashion_mlp.models.TTA` to each, with the kinds of augmentation that it was trained on.

    Raises:
        UserError: a checkpoint cannot be used, differs from the first in its classes, image shape or data, or was
            trained without augmentation although `tta` is True.
    """
    resolved = resolve_device(device)
    members = [load_classifier(path, resolved) for path in paths]
    first = _signature(members[0])
    for path, member in zip(paths, members, strict=True):
        signature = _signature(member)
        for name in first | signature:
            if signature.get(name) != first.get(name):
                raise UserError(f"{path}: its {name} differs from that of {paths[0]}. Expected the same training data")
        if tta:
            member.model = _add_tta(path, member)
    if len(members) == 1:
        return members[0]
    model = Ensemble(member.model for member in members)
    return PhotoClassifier(model, members[0].class_names, metadata=members[0].metadata).to(resolved).eval()


def _add_tta(path: Path, classifier: Classifier) -> TTA:
    augment = classifier.metadata.get("augment", {})
    hflip, translate = bool(augment.get("hflip")), bool(augment.get("translate"))
    if not (hflip or translate):
        problem = "trained on images neither flipped nor translated, so --tta would lower its accuracy"
        raise UserError(f"{path}: {problem}. Remove --tta, or train with data.augment.translate=1")
    return TTA(classifier.model, hflip=hflip, translate=translate)


def _signature(classifier: Classifier) -> dict[str, Any]:
    """Return the properties that the members of an ensemble share, by the names in error messages."""
    data = classifier.metadata["data"]
    arguments, source_key = data["arguments"], find_data_module(data["option"]).source_key
    # The split into training and validation images does not matter, unless the test images are split off too.
    ignored = {"arguments", "val_size", "val_files", "folds", "fold"}
    if not source_key or arguments.get(f"test_{source_key}"):
        ignored |= {"split_seed", "test_size", "files"}
    return {
        "list of classes": classifier.class_names,
        "image shape": classifier.metadata["model"]["image_shape"],
        **{f"data.{name}": value for name, value in (data | arguments).items() if name not in ignored},
    }
