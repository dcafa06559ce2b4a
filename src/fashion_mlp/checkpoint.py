"""From one checkpoint file, and nothing else, back to a classifier that is ready to use."""

import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile, ZipFile

import torch
from hydra.utils import instantiate
from torch import nn

from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.errors import UserError

TRUSTED_PACKAGES = ("fashion_mlp.models", "torch.nn")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project without executing anything in it.

    Raises:
        UserError: the file is absent, damaged, holds pickled objects, or is not this project's.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such checkpoint")
    checkpoint: Any
    try:
        with ZipFile(path) as archive:
            if archive.testzip() is not None:  # a bit that has flipped, which torch would not notice
                raise BadZipFile
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch guesses at what a strange file may be; the error says it
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a file that is not its own, torch fails in many ways
        raise UserError(
            f"{path}: refused, since it is damaged, no checkpoint, or holds pickled objects, which could execute code "
            "when loaded; a checkpoint written by train.py holds tensors and plain values only"
        ) from error
    metadata = checkpoint.get(METADATA_KEY) if isinstance(checkpoint, dict) else None
    if not (isinstance(metadata, dict) and metadata.keys() >= {"model", "class_names", "data"}):
        raise UserError(f"{path}: not a checkpoint written by train.py (it has no {METADATA_KEY!r} entry)")
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
        model = build_model(metadata["model"])
        classifier = Classifier(model, metadata["class_names"], metadata=metadata)
        classifier.load_state_dict(checkpoint["state_dict"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: its weights and configuration do not fit ({error})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return classifier.to(device).eval()


def build_model(config: Mapping[str, Any]) -> nn.Module:
    """Build a network from a configuration that is not trusted.

    Raises:
        UserError: it names a class outside `TRUSTED_PACKAGES`, or holds an interpolation.
    """
    for key, value in _entries(config):
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
        and found.__module__.startswith(tuple(f"{package}." for package in TRUSTED_PACKAGES))
    )
