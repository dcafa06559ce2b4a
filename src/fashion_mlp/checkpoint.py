"""From one checkpoint file, and nothing else, back to a classifier that is ready to use."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor, nn

from fashion_mlp.archive import ForgedFileError, read_directory
from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.data.own_images import MAX_CLASSES
from fashion_mlp.data.pictures import MAX_PIXELS
from fashion_mlp.errors import UserError
from fashion_mlp.pickled import check_pickle

TRUSTED_PACKAGES = ("fashion_mlp.models", "torch.nn")
REPEATING = (nn.RNNBase, nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder)
"""Build any number of layers from one number, which the checks of a configuration do not see."""
MAX_ENTRIES = 1000
"""Of a network's configuration."""
WHAT_IT_HOLDS = "a checkpoint written by train.py holds tensors and plain values only, uncompressed"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project without executing anything in it.

    Raises:
        UserError: the file is absent, damaged, holds pickled objects, would take far more memory than its size, or is
            not this project's.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such checkpoint")
    checkpoint: Any
    try:
        with Path(path).open("rb") as file:
            check_pickle(*read_directory(file))
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except ForgedFileError as error:
        raise UserError(f"{path}: refused, since it {error}; {WHAT_IT_HOLDS}") from error
    except Exception as error:  # on a file that is not its own, unpickling fails in many ways
        raise UserError(f"{path}: refused, since it is damaged or no checkpoint; {WHAT_IT_HOLDS}") from error
    metadata = checkpoint.get(METADATA_KEY) if isinstance(checkpoint, dict) else None
    if not (isinstance(metadata, dict) and metadata.keys() >= {"model", "class_names", "data"}):
        raise UserError(f"{path}: not a checkpoint written by train.py (it has no {METADATA_KEY!r} entry)")
    if problem := _misshapen(checkpoint, metadata):
        raise UserError(f"{path}: refused, since {problem}")
    content: dict[str, Any] = checkpoint
    return content


def load_classifier(path: str | Path, device: str | torch.device = "cpu") -> Classifier:
    """Rebuild the classifier that a checkpoint holds, in evaluation mode.

    Args:
        path: a `.ckpt` file written by `train.py`.
        device: where to put it.

    Raises:
        UserError: the file cannot be used, for one of the reasons of `read_checkpoint` or since its configuration
            names a class that is not from this package or `torch.nn`.
    """
    checkpoint = read_checkpoint(path)
    metadata = checkpoint[METADATA_KEY]
    try:
        with torch.device("meta"):  # which reserves no memory
            described = Classifier(build_model(metadata["model"]), metadata["class_names"])
        _check_fits(described, checkpoint["state_dict"])
        classifier = Classifier(build_model(metadata["model"]), metadata["class_names"], metadata=metadata)
        classifier.load_state_dict(checkpoint["state_dict"])
    except (AttributeError, InstantiationException, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: its weights and configuration do not fit ({error})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return classifier.to(device).eval()


def build_model(config: Mapping[str, Any]) -> nn.Module:
    """Build a network from a configuration that is not trusted.

    A network must be possible to build on torch's device "meta" too, where it is compared with its weights.

    Raises:
        UserError: it names a class outside `TRUSTED_PACKAGES`, or one that is `REPEATING`, holds an interpolation, or
            more than `MAX_ENTRIES` entries.
    """
    for number, (key, value) in enumerate(_entries(config)):
        if number == MAX_ENTRIES:
            raise UserError(f"refused, since its configuration has more than {MAX_ENTRIES} entries")
        if key == "_target_" and not _is_trusted(value):
            raise UserError(
                f"refused, since its configuration names {value!r}: only network classes from "
                f"{' and '.join(TRUSTED_PACKAGES)} are built from a checkpoint"
            )
        if isinstance(value, str) and "${" in value:
            raise UserError(f"refused, since its configuration holds the interpolation {value!r}")
    model = instantiate(dict(config), _convert_="all")
    if not isinstance(model, nn.Module):
        raise UserError("its configuration does not describe a network")
    return model


def _misshapen(checkpoint: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Return what in a checkpoint is not of the form that all users of it rely on, if anything is."""
    model, names, data = metadata["model"], metadata["class_names"], metadata["data"]
    if not isinstance(model, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        return "it describes no network"
    shape = model.get("image_shape")
    if not (isinstance(shape, list) and len(shape) == 3 and all(type(size) is int and size > 0 for size in shape)):
        return f"its images are {shape}, and not of channels, height and width"
    if prod(shape) > 3 * MAX_PIXELS:
        return f"its images are {shape}, more than {MAX_PIXELS:,} pixels"
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return "its classes have no names"
    if len(names) != model.get("num_classes") or len(names) > MAX_CLASSES:
        return f"it names {len(names)} classes for {model.get('num_classes')} logits (at most {MAX_CLASSES:,})"
    if not (isinstance(data, dict) and isinstance(data.get("option"), str) and isinstance(data.get("arguments"), dict)):
        return "it does not say which data it was trained on"
    augment = metadata.get("augment")  # not in a checkpoint of an earlier version
    if "augment" in metadata and not (isinstance(augment, dict) and augment.keys() >= {"flip", "shift"}):
        return "it does not say how its images were augmented"
    return "" if type(checkpoint.get("epoch")) is int else "it does not say how long it was trained"


def _check_fits(described: Classifier, weights: Mapping[str, Any]) -> None:
    """Compare a network on the device "meta" with the weights for it.

    Raises:
        ValueError: it would be larger than they are.
    """
    for name, expected in described.state_dict().items():
        stored = weights.get(name)
        if not isinstance(stored, Tensor) or stored.shape != expected.shape:
            found = list(stored.shape) if isinstance(stored, Tensor) else "nothing"
            raise ValueError(f"{name} is {list(expected.shape)} by its configuration, and {found} in the file")


def _entries(config: object) -> Iterator[tuple[Any, Any]]:
    """Yield each key and value of nested dicts and lists."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield None, value
            yield from _entries(value)


def _is_trusted(target: object) -> bool:
    """Return whether a dotted path is that of a network class, and by its own name rather than by way of an import."""
    if not isinstance(target, str):
        return False
    module_name, _, class_name = target.rpartition(".")
    if not any(f"{module_name}.".startswith(f"{package}.") for package in TRUSTED_PACKAGES):
        return False
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError):
        return False
    return (
        isinstance(found, type)
        and issubclass(cast("type[Any]", found), nn.Module)
        and not issubclass(found, REPEATING)
        and found.__module__.startswith(tuple(f"{package}." for package in TRUSTED_PACKAGES))
    )
