"""Load a classifier from checkpoints, and the images to test it on."""

import logging
from collections.abc import Mapping, Sequence
from inspect import getfullargspec
from pathlib import Path
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from fashion_mlp.checkpoint.load import load_classifier
from fashion_mlp.classifier import Classifier
from fashion_mlp.config.check_config import section_problems
from fashion_mlp.config.messages import did_you_mean, format_value, is_same_path
from fashion_mlp.config.schema import SCHEMAS
from fashion_mlp.data import ImageDataModule, data_modules, find_data_module
from fashion_mlp.data.custom_images import CustomImagesDataModule
from fashion_mlp.data.image_io import mode_of
from fashion_mlp.models import TTA, Ensemble
from fashion_mlp.runtime.errors import UserError

log = logging.getLogger(__name__)

EXPECTED = "Expected data=OPTION or data.KEY=VALUE, with one value"
# Arguments with effects on this machine: files, downloads, processes. A checkpoint must not set them.
COMMAND_LINE_ONLY = ("root", "mirrors", "timeout", "num_workers")


def resolve_device(name: str) -> torch.device:
    """Return the device with this name; for "auto" the accelerator, or else the CPU.

    Raises:
        UserError: this machine has no such device.
    """
    available = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    if name not in ("auto", "cpu", available.type):
        raise UserError(f"--device {name}: not available on this machine. Type --device auto")
    return available if name == "auto" else torch.device(name)


def load_ensemble(paths: Sequence[Path], device: str = "cpu", *, tta: bool = False) -> Classifier:
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


def load_test_data(classifier: Classifier, overrides: Sequence[str], *, download: bool = True) -> ImageDataModule:
    """Load the test images of the data that a classifier was trained on, or of the data that the overrides select.

    The overrides may select custom images. All of them are test images, since they were not split for this classifier.
    If the classifier was trained on them, the test images are those that were held out then.

    Args:
        classifier: classifier to test, with the description of its training data in its metadata.
        overrides: `data=OPTION` and `data.KEY=VALUE`.
        download: download or generate missing data.

    Raises:
        UserError: the data cannot be used, or not with this classifier.
        OSError: the data are missing, and `download` is False.
    """
    trained_on = classifier.metadata["data"]
    option, arguments = _merge(trained_on, overrides)
    if find_data_module(option).source_key:
        channels, height, width = classifier.metadata["model"]["image_shape"]
        as_trained = {"image_size": [height, width], "mode": mode_of(channels)}
        arguments = {"class_names": list(classifier.class_names), **as_trained, **arguments}
    datamodule = build_untrusted_datamodule(option, arguments)
    if download:
        datamodule.prepare_data()
    datamodule.setup("test")
    _check_compatible(classifier, datamodule)
    if isinstance(datamodule, CustomImagesDataModule):
        _warn_of_training_images(datamodule, trained_on)
    return datamodule


def _merge(trained_on: Mapping[str, Any], overrides: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the option and the arguments of the data: those of the training, changed by the overrides.

    Raises:
        UserError: an override would put training images among the test images, or the checkpoint sets an argument
            of `COMMAND_LINE_ONLY`.
    """
    value, arguments = _parse_overrides(overrides)
    option: str = trained_on["option"] if value is None else format_value(value)
    source, stored = find_data_module(option).source_key, trained_on["arguments"]
    is_same_source = is_same_path(str(arguments.get(source)), str(stored.get(source)))
    if value is not None and not (option == trained_on["option"] and is_same_source):
        if source in arguments:
            arguments.setdefault(f"test_{source}", arguments[source])
        return option, arguments
    if refused := [name for name in COMMAND_LINE_ONLY if name in stored]:
        raise UserError(f"the checkpoint: refused, since it sets data.{refused[0]}, which is for the command line")
    for name in ("split_seed", "test_size") if source else ():
        if name in arguments and arguments[name] != stored.get(name):
            raise UserError(
                f"data.{name}={format_value(arguments[name])}: the checkpoint was trained with "
                f"{format_value(stored.get(name))}, and another split would test it on training images. "
                f"Remove data.{name}"
            )
    return option, {**stored, **arguments}


def _parse_overrides(texts: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Return the option of the group `data`, or None, and the values of its keys by name.

    Raises:
        UserError: a text is not an override of the data with a single value.
    """
    values = {}
    for text in texts:
        try:
            override = OverridesParser.create().parse_override(text)
        except (HydraException, ValueError, RecursionError) as error:  # ValueError: too many digits for `int`
            raise UserError(f"{text or repr(text)}: cannot be parsed. {EXPECTED}") from error
        is_single = not (override.is_add() or override.is_delete() or override.is_sweep_override() or "${" in text)
        if not is_single or not f"{override.key_or_group}.".startswith("data."):
            raise UserError(f"{text}: not supported here. {EXPECTED}")
        values[override.key_or_group] = override.value()
    return values.pop("data", None), {key.removeprefix("data."): value for key, value in values.items()}


def build_untrusted_datamodule(option: str, arguments: Mapping[str, Any]) -> ImageDataModule:
    """Build a data module from an untrusted option and untrusted arguments.

    Args:
        option: name of the data module.
        arguments: arguments of the constructor; the others keep their defaults.

    Raises:
        UserError: there is no such option or argument, or a value has the wrong type or is out of range.
    """
    if option not in data_modules():
        raise UserError(f"data={option}: no such option{did_you_mean(option, data_modules())}")
    module = data_modules()[option]
    names, _, _, defaults, *_ = getfullargspec(module)
    required = names[1 : len(names) - len(defaults or ())]  # without self
    problems = [f"data.{name}: missing value. Type data.{name}=..." for name in required if name not in arguments]
    if "augment" in arguments:
        problems.append("data.augment: only for train.py. Remove it")
    # A subclass with the arguments of its parent needs no separate schema.
    targets = [f"fashion_mlp.data.{parent.__name__}" for parent in module.__mro__]
    if schema := next((SCHEMAS[target] for target in targets if target in SCHEMAS), None):
        problems += section_problems(schema, arguments, "data.").values()
    if problems:
        raise UserError(*problems)
    return module(**arguments)


def _check_compatible(classifier: Classifier, datamodule: ImageDataModule) -> None:
    shape, expected = list(datamodule.image_shape), list(classifier.metadata["model"]["image_shape"])
    if shape != expected:
        raise UserError(
            f"data={datamodule.option}: its images have the shape {format_value(shape)}. The checkpoint expects "
            f"{format_value(expected)}"
        )
    if tuple(datamodule.class_names) != tuple(classifier.class_names):
        raise UserError(f"data={datamodule.option}: its classes differ from those of the checkpoint")


def _warn_of_training_images(datamodule: CustomImagesDataModule, trained_on: Mapping[str, Any]) -> None:
    """Warn if the test images are those of the training, or are split off from images that have changed since then."""
    split = "test" if "test" in datamodule.sources else "train"
    is_unchanged = datamodule.load_source(split).fingerprint == trained_on.get("files")
    if "files" in trained_on and is_unchanged == (split == "test"):
        log.warning(f"{datamodule.sources[split]}: some test images may be images that the checkpoint was trained on")
