"""Read a checkpoint that need not be trusted, and build its network."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from inspect import signature
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fashion_mlp.checkpoint import safe_load
from fashion_mlp.classifier import METADATA_KEY
from fashion_mlp.data.custom_images import MAX_CLASSES
from fashion_mlp.data.image_io import MAX_PIXELS
from fashion_mlp.runtime.errors import UserError

TRUSTED_PACKAGES = ("fashion_mlp.models", "torch.nn")
# Modules whose number of layers is an argument, so that a short configuration can build any number.
UNBOUNDED_MODULES = (nn.RNNBase, nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder)
# Number of entries in the configuration of a network.
MAX_ENTRIES = 1000
# Size of a network over that of its weights in the file: 2 for weights in half precision, times 2 for copies.
MAX_GROWTH = 4
# Additional size of a network, for buffers that are not saved, in bytes.
SPARE_BYTES = 64 << 20


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project without executing anything in it.

    Raises:
        UserError: the file is missing, damaged or not a checkpoint of this project, contains pickled objects, or would
            take far more memory than its size.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        checkpoint = safe_load.load(Path(path))
    except Exception as error:  # unpickling raises errors of many types
        reason = error if isinstance(error, safe_load.ForgedFileError) else "damaged, or not a checkpoint"
        raise UserError(f"{path}: refused: {reason}. Expected a checkpoint that train.py saved") from error
    metadata = checkpoint.get(METADATA_KEY) if isinstance(checkpoint, dict) else None
    if not (isinstance(metadata, dict) and metadata.keys() >= {"model", "class_names", "data", "augment"}):
        raise UserError(f"{path}: not a checkpoint that train.py saved ({METADATA_KEY!r} is missing)")
    if problem := _metadata_error(checkpoint, metadata):
        raise UserError(f"{path}: refused: {problem}")
    return cast("dict[str, Any]", checkpoint)


def check_loadable(config: Mapping[str, Any], weights: Iterable[Any]) -> None:
    """Build a network on the device "meta", which allocates no memory, and compare its size with that of its weights.

    Raises:
        UserError: `build_model` refuses the configuration.
        ValueError: the network would take far more memory than the weights.
        Exception: a constructor refuses its arguments.
    """
    modules: list[nn.Module] = []
    with torch.device("meta"):
        build_model(config, modules)
    tensors = {tensor for module in modules for tensor in (*module.parameters(), *module.buffers())}
    needed = sum(tensor.nbytes for tensor in tensors)
    stored = sum(weight.nbytes for weight in weights if isinstance(weight, Tensor))
    if needed > MAX_GROWTH * stored + SPARE_BYTES:
        raise ValueError(f"the network would take {needed:,} bytes, its weights in the file {stored:,}")


def build_model(config: Mapping[str, Any], modules: list[nn.Module] | None = None) -> nn.Module:
    """Build a network from an untrusted configuration.

    Args:
        config: the configuration in Hydra's form, without interpolations, with classes from `TRUSTED_PACKAGES` only.
        modules: receives each module that is built, also those that the network does not contain.

    Raises:
        UserError: the configuration names another class, one of `UNBOUNDED_MODULES` or a device, or has more than
            `MAX_ENTRIES` entries.
        Exception: a constructor refuses its arguments.
    """
    keys = list(_keys(config))
    if len(keys) > MAX_ENTRIES:
        raise UserError(f"refused: the configuration has more than {MAX_ENTRIES} entries")
    _check_names(keys)
    model = _build(config, [] if modules is None else modules)
    if not isinstance(model, nn.Module):
        raise UserError("the configuration does not describe a network")
    return model


def _metadata_error(checkpoint: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Return why the metadata of a checkpoint are invalid; an empty string if they are valid."""
    model, names, data = metadata["model"], metadata["class_names"], metadata["data"]
    if not all(isinstance(value, dict) for value in (model, data, metadata["augment"], checkpoint.get("state_dict"))):
        return "no description of the network or the data"
    shape = model.get("image_shape")
    if not (isinstance(shape, list) and len(shape) == 3 and all(type(size) is int and size > 0 for size in shape)):
        return f"image shape {shape}. Expected channels, height and width"
    if prod(shape) > 3 * MAX_PIXELS:
        return f"image shape {shape}. Expected at most {MAX_PIXELS:,} pixels"
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return "invalid class names"
    if len(names) != model.get("num_classes") or len(names) > MAX_CLASSES:
        return f"{len(names)} class names for {model.get('num_classes')} logits (at most {MAX_CLASSES:,})"
    if not (isinstance(data.get("option"), str) and isinstance(data.get("arguments"), dict)):
        return "no description of the data"
    return "" if type(checkpoint.get("epoch")) is int else "no number of epochs"


def _keys(config: object) -> Iterator[str]:
    """Yield the key or index of each entry of nested dicts and lists."""
    if isinstance(config, Mapping | list | tuple):
        for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
            yield str(key)
            yield from _keys(value)


def _check_names(names: Iterable[str]) -> None:
    if any("device" in name for name in names):
        raise UserError("refused: the configuration names a device")


def _build(config: Any, modules: list[nn.Module]) -> Any:
    """Build a configuration as Hydra does, but check the arguments of a class before any of them is built."""
    if isinstance(config, list | tuple):
        return [_build(value, modules) for value in config]
    if not isinstance(config, Mapping):
        return config
    if "_target_" not in config:
        return {key: _build(value, modules) for key, value in config.items()}
    values = dict(config)
    network = _network_class(values.pop("_target_"))
    bound = signature(network).bind(*values.pop("_args_", ()), **values)
    _check_names(bound.arguments)  # includes positional arguments
    modules.append(network(*_build(bound.args, modules), **_build(bound.kwargs, modules)))
    return modules[-1]


def _network_class(target: object) -> type[nn.Module]:
    """Return the module class with a dotted path, which must be defined in a trusted package.

    Raises:
        UserError: there is no such class in `TRUSTED_PACKAGES`, or it is one of `UNBOUNDED_MODULES`.
    """
    module, _, name = str(target).rpartition(".")
    with suppress(ImportError, AttributeError):
        found: Any = getattr(import_module(module), name) if _is_trusted(module) else None
        is_network = isinstance(found, type) and issubclass(found, nn.Module) and _is_trusted(found.__module__)
        if is_network and not issubclass(found, UNBOUNDED_MODULES):
            return cast("type[nn.Module]", found)
    raise UserError(
        f"refused: the configuration names {target!r}. Expected a module class from {' or '.join(TRUSTED_PACKAGES)}"
    )


def _is_trusted(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{package}." for package in TRUSTED_PACKAGES))
