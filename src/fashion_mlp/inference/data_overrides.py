"""`data=OPTION data.KEY=VALUE` on the command line of `fashion-mlp`, parsed without torch."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from fashion_mlp.runtime.errors import UserError

EXPECTED = "Expected data=OPTION or data.KEY=VALUE"


def parse_data_overrides(texts: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Return the option of the group `data`, or None, and the values of its keys by name.

    Raises:
        UserError: a text is not an override of the data with a single value.
    """
    option, arguments = None, {}
    for text in texts:
        try:
            override = OverridesParser.create().parse_override(text)
        except (HydraException, ValueError, RecursionError) as error:  # ValueError: too many digits for `int`
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
