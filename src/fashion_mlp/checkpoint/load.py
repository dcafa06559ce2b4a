"""From one checkpoint file, and nothing else, back to a classifier that is ready to use."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from inspect import signature
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fashion_mlp.checkpoint import archive
from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.data.custom_images import MAX_CLASSES
from fashion_mlp.data.image_io import MAX_PIXELS
from fashion_mlp.runtime.errors import UserError

TRUSTED_PACKAGES = ("fashion_mlp.models", "torch.nn")
# Build any number of layers from one number, which the checks of a configuration do not see.
REPEATING = (nn.RNNBase, nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder)
# Of a network's configuration.
MAX_ENTRIES = 1000
# Bytes of a network for each byte of its weights in the file: half precision takes 2, parts that it copies 2.
MAX_GROWTH = 4
# What a network may take beyond that, for buffers that are not saved.
SPARE_BYTES = 64 << 20


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project without executing anything in it.

    Raises:
        UserError: the file is absent, damaged, holds pickled objects, would take far more memory than its size, or is
            not this project's.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        checkpoint = archive.load(Path(path))
    except Exception as error:  # on a file that is not its own, unpickling fails in many ways
        reason = error if isinstance(error, archive.ForgedFileError) else "is damaged or no checkpoint"
        expected = "a checkpoint written by train.py holds tensors and plain values only, uncompressed"
        raise UserError(f"{path}: refused, since it {reason}; {expected}") from error
    metadata = checkpoint.get(METADATA_KEY) if isinstance(checkpoint, dict) else None
    if not (isinstance(metadata, dict) and metadata.keys() >= {"model", "class_names", "data"}):
        raise UserError(f"{path}: not a checkpoint written by train.py (it has no {METADATA_KEY!r} entry)")
    if problem := _metadata_error(checkpoint, metadata):
        raise UserError(f"{path}: refused, since {problem}")
    return cast("dict[str, Any]", checkpoint)


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
    metadata, weights = checkpoint[METADATA_KEY], checkpoint["state_dict"]
    try:
        _check_size(metadata["model"], weights.values())
        classifier = Classifier(build_model(metadata["model"]), metadata["class_names"], metadata=metadata)
        classifier.load_state_dict(weights)
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
    keys = list(_keys(config))
    if len(keys) > MAX_ENTRIES:
        raise UserError(f"refused, since its configuration has more than {MAX_ENTRIES} entries")
    _check_names(keys)
    model = _build(config, [] if parts is None else parts)
    if not isinstance(model, nn.Module):
        raise UserError("its configuration does not describe a network")
    return model


def _metadata_error(checkpoint: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
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


def _check_size(config: Mapping[str, Any], weights: Iterable[Any]) -> None:
    """Compare the size of a network, built on the device "meta" and thus without memory, with that of its weights.

    Raises:
        ValueError: the network would take far more memory.
    """
    parts: list[nn.Module] = []
    with torch.device("meta"):
        build_model(config, parts)
    tensors = {tensor for part in parts for tensor in (*part.parameters(), *part.buffers())}
    needed = sum(tensor.nbytes for tensor in tensors)
    stored = sum(weight.nbytes for weight in weights if isinstance(weight, Tensor))
    if needed > MAX_GROWTH * stored + SPARE_BYTES:
        raise ValueError(f"the network would take {needed:,} bytes, its weights in the file have {stored:,}")


def _keys(config: object) -> Iterator[str]:
    """Yield the key of each entry of nested dicts and lists; the index in a list."""
    if isinstance(config, Mapping | list | tuple):
        for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
            yield str(key)
            yield from _keys(value)


def _check_names(names: Iterable[str]) -> None:
    if any("device" in name for name in names):
        raise UserError("refused, since its configuration names a device")


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
    _check_names(bound.arguments)  # those given by position too
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
    with suppress(ImportError, AttributeError):
        found: Any = getattr(import_module(module), name) if _is_trusted(module) else None
        is_network = isinstance(found, type) and issubclass(found, nn.Module) and _is_trusted(found.__module__)
        if is_network and not issubclass(found, REPEATING):
            return cast("type[nn.Module]", found)
    raise UserError(
        f"refused, since its configuration names {target!r}: only network classes from "
        f"{' and '.join(TRUSTED_PACKAGES)} are built from a checkpoint"
    )


def _is_trusted(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{package}." for package in TRUSTED_PACKAGES))
