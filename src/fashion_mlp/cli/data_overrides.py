"""`data=OPTION data.KEY=VALUE` on the command line of `fashion-mlp`."""

from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from fashion_mlp.config.compose import initialize_hydra, raise_problems
from fashion_mlp.config.explain import explain
from fashion_mlp.runtime.errors import UserError

EXPECTED = "Expected data=OPTION or data.KEY=VALUE"


def parse_data_overrides(texts: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Return the option of the group `data`, None if there is none, and the values of its keys by name.

    Raises:
        UserError: an override is not one of a single value of the data.
    """
    option, arguments = None, {}
    for text in texts:
        try:
            override = OverridesParser.create().parse_override(text)
        except (HydraException, ValueError, RecursionError) as error:  # of Python: numbers too long
            raise UserError(f"{text or repr(text)}: cannot be parsed. {EXPECTED}") from error
        key = override.key_or_group
        if override.is_add() or override.is_delete() or override.is_sweep_override() or "${" in text:
            raise UserError(f"{text}: only for train.py. {EXPECTED} with one value")
        if key == "data":
            option = override.value()
        elif key.startswith("data."):
            arguments[key.removeprefix("data.")] = override.value()
        else:
            raise UserError(f"{text}: not supported here. {EXPECTED}")
    return option, arguments


def compose_data(texts: Sequence[str]) -> DictConfig:
    """Compose the configuration as `train.py` does, from `conf/` and overrides of the data.

    Raises:
        UserError: with a line for each mistake.
    """
    parse_data_overrides(texts)
    with initialize_hydra():
        raise_problems(explain(texts))
        return compose("train", overrides=list(texts))
