"""Several checkpoints as one classifier."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fashion_mlp.checkpoint.load import load_classifier
from fashion_mlp.classifier import Classifier
from fashion_mlp.data.registry import find_data_module
from fashion_mlp.models import TTA, Ensemble
from fashion_mlp.runtime.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Return the device with this name; for "auto" the first that is available of cuda, mps and cpu.

    Raises:
        UserError: this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_available in available.items() if is_available)
    if not available[name]:
        raise UserError(f"--device {name}: not available on this machine. Type --device auto")
    return torch.device(name)


def load_ensemble(paths: Sequence[Path], device: str = "cpu", *, tta: bool = False) -> Classifier:
    """Load checkpoints as one classifier in evaluation mode, which averages their probabilities.

    Args:
        paths: `.ckpt` files written by `train.py`, at least one.
        device: for `resolve_device`.
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
    return Classifier(model, members[0].class_names, metadata=members[0].metadata).to(resolved).eval()


def _add_tta(path: Path, classifier: Classifier) -> TTA:
    augment = classifier.metadata.get("augment", {})
    hflip, translate = bool(augment.get("hflip")), bool(augment.get("translate"))
    if not (hflip or translate):
        raise UserError(
            f"{path}: trained on images neither flipped nor translated, so --tta would lower its accuracy. "
            "Remove --tta, or train with data.augment.translate=1"
        )
    return TTA(classifier.model, hflip=hflip, translate=translate)


def _signature(classifier: Classifier) -> dict[str, Any]:
    """Return the properties that the members of an ensemble share, by the names in error messages."""
    data = classifier.metadata["data"]
    # The split into training and validation images does not matter, unless the test images are split off too.
    ignored = ["val_size", "val_files", "folds", "fold"]
    source_key = find_data_module(data["option"]).source_key
    if not source_key:
        ignored += ["split_seed"]
    elif data["arguments"].get(f"test_{source_key}"):
        ignored += ["split_seed", "test_size", "files"]
    arguments = {f"data.{name}": value for name, value in data["arguments"].items() if name not in ignored}
    return {
        "list of classes": classifier.class_names,
        "image shape": classifier.metadata["model"]["image_shape"],
        "data set": {name: value for name, value in data.items() if name not in ("arguments", *ignored)},
        **arguments,
    }
