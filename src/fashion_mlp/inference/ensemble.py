"""Several checkpoints as one classifier."""

from collections.abc import Mapping, Sequence
from os.path import normpath
from pathlib import Path
from typing import Any

import torch

from fashion_mlp.checkpoint.load import load_classifier
from fashion_mlp.classifier import Classifier
from fashion_mlp.data.registry import find_data_module
from fashion_mlp.models import TTA, Ensemble
from fashion_mlp.runtime.errors import UserError


def load_members(paths: Sequence[Path], device: str | torch.device = "cpu", *, tta: bool = False) -> list[Classifier]:
    """Load the checkpoints of an ensemble, in evaluation mode.

    Args:
        paths: `.ckpt` files written by `train.py`, at least one.
        device: where to put them.
        tta: whether each answers by `fashion_mlp.models.TTA`, over the kinds of views that it was trained on.

    Raises:
        UserError: one cannot be used, or two differ in their classes, the shape of their images or their data. The
            validation splits of the same training images may differ. Or there are no views that one was trained on.
    """
    members = [load_classifier(path, device) for path in paths]
    first = _signature(members[0])
    for path, member in zip(paths, members, strict=True):
        nature = _signature(member)
        for name in first | nature:
            if nature.get(name) != first.get(name):
                raise UserError(
                    f"{path}: its {name} differs from that of {paths[0]}; an ensemble's checkpoints were trained "
                    "on the same data"
                )
        if tta:
            member.model = _with_views(path, member)
    return members


def make_ensemble(members: Sequence[Classifier]) -> Classifier:
    """Return one classifier, whose probabilities are the means of its members'; a single member is returned itself."""
    if len(members) == 1:
        return members[0]
    first = members[0]
    model = Ensemble(member.model for member in members)
    return Classifier(model, first.class_names, metadata=first.metadata).to(first.device).eval()


def _with_views(path: Path, classifier: Classifier) -> TTA:
    # A checkpoint of an earlier version does not tell.
    trained_on = classifier.metadata.get("augment", {"flip": 1, "shift": 1})
    kinds = {kind: bool(trained_on[kind]) for kind in ("flip", "shift")}
    if not any(kinds.values()):
        raise UserError(
            f"{path}: was trained on images neither mirrored nor shifted, and would lose by --tta, which shows such; "
            "leave it out, or train with data.augment.translate=1"
        )
    return TTA(classifier.model, **kinds)


def _signature(classifier: Classifier) -> dict[str, object]:
    """Return what the members of an ensemble have in common, by the name that it is told by."""
    data: Mapping[str, Any] = classifier.metadata["data"]
    # What decides which training images validate says nothing about the test images, unless these are split off too.
    left_out = ["val_size"]
    source_key = find_data_module(data["option"]).source_key
    if not source_key:
        left_out += ["split_seed"]
    elif data["arguments"].get(f"test_{source_key}"):
        left_out += ["split_seed", "test_size", "files"]
    arguments = {
        f"data.{name}": normpath(value) if name.endswith(("_file", "_dir")) and isinstance(value, str) else value
        for name, value in data["arguments"].items()
        if name not in left_out
    }
    return {
        "list of classes": classifier.class_names,
        "image shape": classifier.metadata["model"]["image_shape"],
        "data set": {name: value for name, value in data.items() if name not in ("arguments", *left_out)},
        **arguments,
    }
