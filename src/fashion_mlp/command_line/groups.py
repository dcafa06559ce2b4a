"""Config groups and their options."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep

from fashion_mlp.suggestions import nearest, shown
from fashion_mlp.sweep.launchers import why_not

COMBINED = ("logger",)
"""Groups of which several options go together, as in logger=[tensorboard,csv]."""
OPTIONAL = ("experiment", "sweep")
"""Groups that can be left out, by null."""
MANY_VALUES = 10_000
"""More jobs than a sweep will ever run."""
PRIVATE = ("schema",)
"""Groups that are no one's choice."""


def is_hydras(key: str) -> bool:
    """Return whether a key or group is one of Hydra's own."""
    return key.startswith(("hydra.", "hydra/"))


class Groups:
    """The config groups that can be chosen from.

    Args:
        folders: `conf/`, and what `--config-dir` adds to it.
        loader: knows the groups of Hydra itself, to which plugins add.
    """

    def __init__(self, folders: Sequence[Path], loader: ConfigLoader) -> None:
        self.folders = folders
        self.loader = loader

    def options(self, group: str) -> list[str]:
        """Return the options of a group; none if there is no such group."""
        if group.startswith("hydra/"):
            return [str(name) for name in self.loader.get_group_options(group)]
        if "." in group or group.split("/")[0] in ("hydra", *PRIVATE):
            return []
        try:
            files = [path for folder in self.folders for path in (folder / group).glob("*.yaml")]
        except (OSError, ValueError):  # a name that no folder can have
            return []
        return [path.stem for path in files if group and not path.stem.startswith("_")]

    def by_option(self) -> Mapping[str, str]:
        """Return the group of each option whose name is in one group only."""
        groups = [path.name for path in self.folders[0].iterdir() if path.is_dir() and path.name != "hydra"]
        named = [(option, group) for group in groups for option in self.options(group)]
        names = [option for option, _ in named]
        return {option: group for option, group in named if names.count(option) == 1}

    def problems(self, override: Override) -> Iterator[str]:
        """Yield a line for each reason why a group cannot be set so."""
        group, names = override.key_or_group, self.options(override.key_or_group)
        if override.is_delete():
            yield f"~{group}: a run needs one; choose with {group}=... (there are {', '.join(sorted(names))})"
        elif override.package is not None:
            yield f"{override.input_line}: a group is chosen without @, as in {group}={names[0]}"
        elif override.is_add() and (self.folders[0] / group).is_dir():
            yield f"{override.input_line}: is chosen without +; write {str(override.input_line).lstrip('+')}"
        else:
            for chosen in values(override):
                yield from self._unknown(group, chosen, names)
            if group == "sweep" and override.is_sweep_override():
                yield f"{override.input_line}: takes one option"

    def _unknown(self, group: str, chosen: Any, names: Sequence[str]) -> Iterator[str]:
        if isinstance(chosen, list) and group not in COMBINED:
            yield f"{group}={shown(chosen)}: takes one option; a sweep over several is written a,b"
        elif chosen == []:
            yield f"{group}=[]: names no option; for none write {group}=none"
        elif isinstance(chosen, list) and len(set(map(str, chosen))) < len(chosen):
            yield f"{group}={shown(chosen)}: names an option twice"
        elif chosen is not None or group not in OPTIONAL:
            for value in chosen if isinstance(chosen, list) else [chosen]:
                if value not in names:
                    yield f"{group}={shown(chosen)}: no such option{nearest(shown(value), names)}"
                elif group == "hydra/launcher" and (reason := why_not(str(value))):
                    yield reason


def _range_problem(sweep: RangeSweep) -> str:
    assert sweep.start is not None
    assert sweep.stop is not None
    if not sweep.step:
        return "has a step of 0"
    many = abs((sweep.stop - sweep.start) / sweep.step) > MANY_VALUES
    return f"holds more than {MANY_VALUES:,} values" if many else ""


def values(override: Override) -> list[Any]:
    """Return what an override sets: one value, or each one of a sweep."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return list(override.sweep_iterator()) if override.is_sweep_override() else [value]


def sweep_problems(override: Override, *, searching: bool) -> Iterator[str]:
    """Yield a line for a sweep that holds nothing, or that only a search can draw from."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        if not searching:
            yield f"{override.input_line}: an interval is for sweep=optuna; otherwise write values, as in a,b"
    elif isinstance(value, RangeSweep) and (problem := _range_problem(value)):
        yield f"{override.input_line}: {problem}"
    elif not (found := values(override)):
        yield f"{override.input_line}: holds no value; a range ends before its stop"
    elif any(isinstance(each, Sweep) for each in found):
        yield f"{override.input_line}: a sweep within a sweep; write all values in one choice(...)"
