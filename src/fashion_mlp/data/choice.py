"""A data module by the name of its option, without Hydra: what the commands on checkpoints use."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion_mlp.config import SCHEMAS
from fashion_mlp.data.fashion_mnist import FashionMNISTDataModule
from fashion_mlp.data.image_csv import ImageCSVDataModule
from fashion_mlp.data.image_folder import ImageFolderDataModule
from fashion_mlp.data.module import ImageDataModule
from fashion_mlp.data.synthetic import SyntheticDataModule
from fashion_mlp.errors import UserError
from fashion_mlp.suggestions import nearest, shown
from fashion_mlp.validation import expected_type, key_out_of_range

DATA_MODULES: Mapping[str, type[ImageDataModule]] = {
    module.option: module
    for module in (FashionMNISTDataModule, SyntheticDataModule, ImageCSVDataModule, ImageFolderDataModule)
}


SOURCES = {"image_csv": "annotations_file", "image_folder": "img_dir"}
"""The key that names the reader's own images, by option; that for those to test on has `test_` before it."""


def build_datamodule(option: str, arguments: Mapping[str, Any]) -> ImageDataModule:
    """Build a data module from a name and arguments that are not trusted.

    Args:
        option: one of `DATA_MODULES`.
        arguments: for its constructor; what is not given keeps the constructor's default.

    Raises:
        UserError: there is no such option or argument, or a value is of the wrong type or out of range.
    """
    if option not in DATA_MODULES:
        raise UserError(f"data={option}: no such option{nearest(option, list(DATA_MODULES))}")
    schema: DictConfig = OmegaConf.structured(SCHEMAS["data"][option])
    names = [str(name) for name in schema if name not in ("_target_", "augment")]  # here nothing is learned
    problems = [
        f"data.{name}: has no value; write data.{name}=..."
        for name, parameter in signature(DATA_MODULES[option]).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_KEYWORD
        and name not in arguments
    ]
    for name, value in arguments.items():
        if name not in names:
            problems.append(f"data.{name}: no such key{nearest(name, names, prefix='data.')}")
            continue
        try:
            schema[name] = value
        except (OmegaConfBaseException, ValueError, OverflowError) as error:  # Python's own: a number too large
            problems.append(f"data.{name}={shown(value)}: {expected_type(schema, name, error)}")
        else:
            problems += key_out_of_range(schema, name, "data.")
    if problems:
        raise UserError(*problems)
    given = OmegaConf.to_container(schema)
    assert isinstance(given, dict)
    return DATA_MODULES[option](**{name: given[name] for name in arguments})
