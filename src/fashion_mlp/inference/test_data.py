"""The test images of a checkpoint: of the data that it was trained on, or of data that the user selects."""

import logging
from collections.abc import Mapping, Sequence
from inspect import getfullargspec
from typing import Any

from fashion_mlp.classifier import Classifier
from fashion_mlp.config.check_config import section_problems
from fashion_mlp.config.command_line import parse_override
from fashion_mlp.config.messages import did_you_mean, format_value, is_same_path
from fashion_mlp.config.schema import SCHEMAS
from fashion_mlp.data import ImageDataModule, data_modules, find_data_module
from fashion_mlp.data.custom_images import CustomImagesDataModule
from fashion_mlp.data.image_io import mode_of
from fashion_mlp.runtime.errors import UserError

log = logging.getLogger(__name__)

EXPECTED = "Expected data=OPTION or data.KEY=VALUE, with one value"
# Arguments with effects on this machine: files, downloads, processes. A checkpoint must not set them.
COMMAND_LINE_ONLY = ("root", "mirrors", "timeout", "num_workers")


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
    shape, expected = list(datamodule.image_shape), list(classifier.metadata["model"]["image_shape"])
    if shape != expected:
        problem = f"its images have the shape {format_value(shape)}. The checkpoint expects {format_value(expected)}"
        raise UserError(f"data={option}: {problem}")
    if tuple(datamodule.class_names) != tuple(classifier.class_names):
        raise UserError(f"data={option}: its classes differ from those of the checkpoint")
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
            trained = format_value(stored.get(name))
            problem = f"the checkpoint was trained with {trained}; another split has training images"
            raise UserError(f"data.{name}={format_value(arguments[name])}: {problem}. Remove data.{name}")
    return option, {**stored, **arguments}


def _parse_overrides(texts: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Return the option of the group `data`, or None, and the values of its keys by name.

    Raises:
        UserError: a text is not an override of the data with a single value.
    """
    values = {}
    for text in texts:
        override = parse_override(text)
        if override is None:
            raise UserError(f"{text or repr(text)}: cannot be parsed. {EXPECTED}")
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


def _warn_of_training_images(datamodule: CustomImagesDataModule, trained_on: Mapping[str, Any]) -> None:
    """Warn if the test images are those of the training, or are split off from images that have changed since then."""
    split = "test" if "test" in datamodule.sources else "train"
    is_unchanged = datamodule.load_source(split).fingerprint == trained_on.get("files")
    if "files" in trained_on and is_unchanged == (split == "test"):
        log.warning(f"{datamodule.sources[split]}: some test images may be images that the checkpoint was trained on")
