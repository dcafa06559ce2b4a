"""Data modules by option, without Hydra: for the commands that use checkpoints."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from inspect import getfullargspec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from fashion_mlp.config.check_config import section_problems
from fashion_mlp.config.messages import did_you_mean
from fashion_mlp.config.schema import SCHEMAS
from fashion_mlp.data.module import ImageDataModule
from fashion_mlp.runtime.errors import UserError


@cache
def data_modules() -> Mapping[str, type[ImageDataModule]]:
    """Import all modules of this package, whose data modules register themselves, and return these by option."""
    for module in iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        import_module(module.name)
    return ImageDataModule.registry


def find_data_module(option: str) -> type[ImageDataModule]:
    """Return the class of an option, for its attributes; the base class if there is no such option."""
    return data_modules().get(option, ImageDataModule)


def build_untrusted_datamodule(option: str, arguments: Mapping[str, Any]) -> ImageDataModule:
    """Build a data module from an untrusted option and untrusted arguments.

    Args:
        option: name of the data module.
        arguments: of its constructor; the others keep their defaults.

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
    targets = [f"{__package__}.{parent.__name__}" for parent in module.__mro__]
    if schema := next((SCHEMAS[target] for target in targets if target in SCHEMAS), None):
        problems += section_problems(schema, arguments, "data.").values()
    if problems:
        raise UserError(*problems)
    return module(**arguments)
