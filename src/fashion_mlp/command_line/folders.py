"""Where a run writes, looked at before Hydra makes a folder there."""

import os
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion_mlp.run_directory import CHECKPOINTS, taken


def folder_problems(cfg: DictConfig, *, multirun: bool, resumed: bool = False) -> Iterator[str]:
    """Yield a line for each folder of a run or sweep that cannot be made.

    Args:
        cfg: the composed configuration, with Hydra's part.
        multirun: whether it is a sweep's.
        resumed: whether the folder holds the run that goes on there.
    """
    keys = ["hydra.sweep.dir" if multirun else "hydra.run.dir"]
    if "${hydra:" not in _written(cfg, "run_dir"):
        keys.append("run_dir")
    for key in keys:
        try:
            folder = OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            if key != "run_dir":  # which is told with all other keys of the run
                yield f"{key}={_written(cfg, key)}: cannot be resolved: {str(error).splitlines()[0]}"
            continue
        if not isinstance(folder, str) or not folder.strip():
            yield f"{key}={'null' if folder is None else folder}: must be the path of a folder"
        else:
            if problem := obstacle(Path(folder)):
                yield f"{key}={folder}: {problem}"
            if key == "hydra.run.dir" and not resumed and Path(folder, CHECKPOINTS).exists():
                yield f"{key}={folder}: {taken(folder)}"


def obstacle(folder: Path) -> str:
    """Return why a folder cannot be made or written; nothing if it can."""
    try:
        place = next(place for place in (folder, *folder.parents) if place.exists())
    except (OSError, ValueError) as error:  # too long a name; a null character
        return f"cannot be the path of a folder ({error})"
    told = "" if place == folder else f"{place} "
    if not place.is_dir():
        return f"{told}is a file; name a folder"
    return "" if os.access(place, os.W_OK) else f"{told}cannot be written; name another folder"


def is_same(path: str, other: str) -> bool:
    """Return whether two paths lead to one place, which need not exist."""
    try:
        return Path(path).resolve() == Path(other).resolve()
    except (OSError, ValueError, RuntimeError):  # too long a name; a null character; a loop of symbolic links
        return False


def _written(cfg: DictConfig, key: str) -> str:
    """Return a value as it stands in the configuration, its interpolations as they are."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return str(node._get_node(name))
