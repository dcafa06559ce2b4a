"""From one checkpoint file, and nothing else, back to a classifier that is ready to use."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from inspect import signature
from math import prod
from pathlib import Path
from typing import Any

import torch
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
MAX_GROWTH = 4
"""Bytes of a network for each byte of its weights in the file: half precision takes 2, parts that it copies 2."""
SPARE_BYTES = 64 << 20
"""What a network may take beyond that, for buffers that are not saved."""
NO_DEVICE = "refused, since its configuration names a device"
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
    parts: list[nn.Module] = []
    try:
        with torch.device("meta"):  # allocates nothing
            build_model(metadata["model"], parts)
        _check_size(parts, checkpoint["state_dict"].values())
        classifier = Classifier(build_model(metadata["model"]), metadata["class_names"], metadata=metadata)
        classifier.load_state_dict(checkpoint["state_dict"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # a constructor can fail in many ways
        raise UserError(f"{path}: its weights and configuration do not fit ({error})") from error
    return classifier.to(device).eval()


def build_model(config: Mapping[str, Any], parts: list[nn.Module] | None = None) -> nn.Module:
    """Build a network from a configuration that is not trusted.

    It must be possible to build the network on the device "meta" too, where its size is compared with its weights.

    Args:
        config: in Hydra's form, without interpolations; classes are looked up in `TRUSTED_PACKAGES` only.
        parts: receives each module that is built, whether or not it becomes a part of the network.

    Raises:
        UserError: the configuration names another class or one that is `REPEATING`, names a device, or has more than
            `MAX_ENTRIES` entries.
        Exception: a constructor refuses its arguments.
    """
    for number, key in enumerate(_keys(config)):
        if number == MAX_ENTRIES:
            raise UserError(f"refused, since its configuration has more than {MAX_ENTRIES} entries")
        if "device" in str(key):
            raise UserError(NO_DEVICE)
    model = _build(config, [] if parts is None else parts)
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


def _check_size(parts: Iterable[nn.Module], weights: Iterable[Any]) -> None:
    """Compare the size of modules on the device "meta" with that of the weights for them.

    Raises:
        ValueError: the modules would take far more memory.
    """
    tensors = {tensor for part in parts for tensor in (*part.parameters(), *part.buffers())}
    needed = sum(tensor.nbytes for tensor in tensors)
    stored = sum(weight.nbytes for weight in weights if isinstance(weight, Tensor))
    if needed > MAX_GROWTH * stored + SPARE_BYTES:
        raise ValueError(f"the network would take {needed:,} bytes, its weights in the file have {stored:,}")


def _keys(config: object) -> Iterator[Any]:
    """Yield the key of each entry of nested dicts and lists; None in a list."""
    if isinstance(config, Mapping | list | tuple):
        for key, value in config.items() if isinstance(config, Mapping) else ((None, value) for value in config):
            yield key
            yield from _keys(value)


def _build(config: Any, parts: list[nn.Module]) -> Any:
    """Build what a configuration describes, as Hydra would; check a class's arguments before any of them is built."""
    if isinstance(config, list | tuple):
        return [_build(value, parts) for value in config]
    if not isinstance(config, Mapping):
        return config
    if "_target_" not in config:
        return {key: _build(value, parts) for key, value in config.items()}
    values = dict(config)
    network = _network_class(values.pop("_target_"))
    positional, is_partial = values.pop("_args_", ()), values.pop("_partial_", False)
    bind = signature(network).bind_partial if is_partial else signature(network).bind
    bound = bind(*positional, **values)
    if any("device" in name for name in bound.arguments):  # given by its position
        raise UserError(NO_DEVICE)
    args, kwargs = _build(bound.args, parts), _build(bound.kwargs, parts)
    if is_partial:
        return partial(network, *args, **kwargs)
    parts.append(network(*args, **kwargs))
    return parts[-1]


def _network_class(target: object) -> type[nn.Module]:
    """Return the network class with a dotted path, which must be its own and not that of an import.

    Raises:
        UserError: there is none in `TRUSTED_PACKAGES`, or it is `REPEATING`.
    """
    module, _, name = str(target).rpartition(".")
    found = None
    if _is_trusted(module):
        with suppress(ImportError, AttributeError):
            found = getattr(import_module(module), name)
    if (
        isinstance(found, type)
        and issubclass(found, nn.Module)
        and not issubclass(found, REPEATING)
        and _is_trusted(found.__module__)
    ):
        return found
    raise UserError(
        f"refused, since its configuration names {target!r}: only network classes from "
        f"{' and '.join(TRUSTED_PACKAGES)} are built from a checkpoint"
    )


def _is_trusted(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{package}." for package in TRUSTED_PACKAGES))
