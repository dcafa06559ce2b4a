"""A data module by the name of its option, without Hydra: what the commands on checkpoints use."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from fashion_mlp.config.check import section_problems
from fashion_mlp.config.messages import did_you_mean
from fashion_mlp.config.schema import SCHEMAS
from fashion_mlp.data.fashion_mnist import FashionMNISTDataModule
from fashion_mlp.data.image_csv import ImageCSVDataModule
from fashion_mlp.data.image_folder import ImageFolderDataModule
from fashion_mlp.data.module import ImageDataModule
from fashion_mlp.data.synthetic import SyntheticDataModule
from fashion_mlp.runtime.errors import UserError

DATA_MODULES: Mapping[str, type[ImageDataModule]] = {
    module.option: module
    for module in (FashionMNISTDataModule, SyntheticDataModule, ImageCSVDataModule, ImageFolderDataModule)
}


# The key that names the reader's own images, by option; that for those to test on has `test_` before it.
SOURCES = {"image_csv": "annotations_file", "image_folder": "img_dir"}


def build_datamodule(option: str, arguments: Mapping[str, Any]) -> ImageDataModule:
    """Build a data module from a name and arguments that are not trusted.

    Args:
        option: one of `DATA_MODULES`.
        arguments: for its constructor; what is not given keeps the constructor's default.

    Raises:
        UserError: there is no such option or argument, or a value is of the wrong type or out of range.
    """
    if option not in DATA_MODULES:
        raise UserError(f"data={option}: no such option{did_you_mean(option, list(DATA_MODULES))}")
    module = DATA_MODULES[option]
    problems = [
        f"data.{name}: missing value. Type data.{name}=..."
        for name, parameter in signature(module).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_KEYWORD
        and name not in arguments
    ]
    if "augment" in arguments:
        problems.append("data.augment: only for train.py. Remove it")
    if schema := SCHEMAS.get(f"fashion_mlp.data.{module.__name__}"):
        problems += section_problems(schema, arguments, "data.").values()
    if problems:
        raise UserError(*problems)
    return module(**arguments)
