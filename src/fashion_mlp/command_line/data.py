"""`data=OPTION data.KEY=VALUE` for the commands of `fashion-mlp`, checked before torch is loaded."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig

from fashion_mlp import config
from fashion_mlp.command_line import keys
from fashion_mlp.command_line.combinations import data_problems
from fashion_mlp.command_line.groups import Groups
from fashion_mlp.errors import UserError
from fashion_mlp.validation import out_of_range


def parse_overrides(texts: Sequence[str]) -> tuple[Override | None, dict[str, Override]]:
    """Return the override of the group `data`, if it was typed, and those of its keys, by name.

    Raises:
        UserError: an override cannot be read, or is about something else than the data.
    """
    option, arguments = None, {}
    for text in texts:
        try:
            override = OverridesParser.create().parse_override(text)
        except (HydraException, ValueError, RecursionError) as error:  # of Python's own: numbers too long
            raise UserError(f"{text or repr(text)}: cannot be read; write data=OPTION or data.KEY=VALUE") from error
        if override.is_add() or override.is_delete():
            raise UserError(f"{text}: is written without {text[0]} here, as data=OPTION or data.KEY=VALUE")
        if override.is_sweep_override():
            raise UserError(f"{text}: one value at a time; sweeps are for train.py")
        if "${" in text:
            raise UserError(f"{text}: interpolations are for train.py; write the value")
        if override.key_or_group == "data":
            option = override
        elif override.key_or_group.startswith("data."):
            arguments[override.key_or_group.removeprefix("data.")] = override
        else:
            raise UserError(f"{text}: only data=OPTION and data.KEY=VALUE can be given here")
    return option, arguments


def compose_data(texts: Sequence[str]) -> DictConfig:
    """Compose the configuration as `train.py` does, from `conf/` and overrides of the group `data`.

    Raises:
        UserError: a line for each mistake.
    """
    option, arguments = parse_overrides(texts)
    config.register()
    folder = config.find_conf()
    with initialize_config_dir(str(folder), version_base="1.3"):
        groups = Groups([folder], GlobalHydra.instance().config_loader())
        if option is not None and (problems := list(groups.problems(option))):
            raise UserError(*problems)
        cfg = compose("train", overrides=[] if option is None else [str(option.input_line)])
    problems = [problem for override in arguments.values() for problem in keys.apply(override, cfg, [override.value()])]
    problems += [problem for problem in out_of_range(cfg.data, "data.") if problem not in problems]
    if problems := problems or list(data_problems(cfg.data)):
        raise UserError(*problems)
    return cfg
