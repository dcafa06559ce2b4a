"""An interrupted sweep goes on: `python train.py resume_sweep=FOLDER`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.command_line import flags
from fashion_mlp.errors import UserError
from fashion_mlp.run_directory import hydra_quote
from fashion_mlp.sweep.records import JobRecord

KEY = "resume_sweep"
RECORD = "multirun.yaml"
"""Hydra's own record of the command that began a sweep."""


def resumed(argv: Sequence[str]) -> list[str]:
    """Return the command line that began the sweep which `resume_sweep` names, aimed at its folder; else `argv`.

    Overrides of Hydra's own keys may be added, such as another launcher: they change how jobs run, not what they
    compute. The command may do whatever the command line may, so a folder of somebody else is to be read first.

    Raises:
        UserError: there is no such sweep, or other overrides were given.
    """
    asked = flags.resumption(argv, KEY)
    if asked is None:
        return list(argv)
    folder, hydras = Path(asked.folder), asked.hydras
    if asked.others:
        raise UserError(f"{' '.join(asked.others)}: not with {asked.text}, which runs that sweep as it was begun")
    if not folder.is_dir():
        raise UserError(f"{asked.text}: there is no such folder")
    hydra = read_record(folder / RECORD)
    if hydra is None:
        raise UserError(f"{asked.text}: holds no sweep (there is no {RECORD} of one in it)")
    replaced = ["hydra.mode=", "hydra.sweep.dir="]
    if any(text.startswith("hydra/launcher=") for text in hydras):
        replaced += ["hydra/launcher=", "hydra.launcher."]
    given = [text for text in hydra["overrides"]["hydra"] if not text.startswith(tuple(replaced))]
    return [
        "--multirun",
        *recorded_flags(hydra),
        *given,
        *hydra["overrides"]["task"],
        f"hydra.sweep.dir={hydra_quote(folder)}",
        *hydras,
    ]


def recorded_flags(hydra: Any) -> list[str]:
    """Return the flags that a recorded command line had and its replay needs."""
    added = [
        flag
        for source in hydra["runtime"]["config_sources"]
        if source["provider"] == "command-line"
        for flag in ("--config-dir", source["path"])
    ]
    if hydra["job"]["config_name"] != "train":
        added += ["--config-name", hydra["job"]["config_name"]]
    return added


def check_same_sweep(folder: Path, config: DictConfig, jobs: Sequence[JobRecord]) -> None:
    """Check that a directory is free for a sweep, or holds the same sweep, which was interrupted.

    Args:
        folder: of the sweep.
        config: of the sweep.
        jobs: found in the folder.

    Raises:
        UserError: it holds another sweep, or directories that a job of this one would write to.
    """
    before = read_record(folder / RECORD)
    if before is None:
        found = [job.folder for job in jobs] or sorted(path for path in folder.glob("*") if path.name.isdecimal())
        if found:
            raise UserError(_not_of_this_sweep(folder, found[0]))
        return
    now = OmegaConf.to_container(config.hydra, resolve=False)
    assert isinstance(now, dict)
    if _jobs_of(before) != _jobs_of(now):
        raise UserError(
            f"hydra.sweep.dir={folder}: holds another sweep ({' '.join(before['overrides']['task'])}); name another "
            f"folder, or go on with that one: {KEY}={folder}"
        )
    keys = {text.partition("=")[0] for text in now["overrides"]["task"]} | set(now["sweeper"].get("params") or {})
    if foreign := [job.folder for job in jobs if job.overrides.keys() != keys]:
        raise UserError(_not_of_this_sweep(folder, foreign[0]))


def _not_of_this_sweep(folder: Path, found: Path) -> str:
    return f"hydra.sweep.dir={folder}: {found} exists and is not of this sweep. Choose another hydra.sweep.dir"


def _jobs_of(hydra: Any) -> list[Any]:
    """Return what the jobs of a sweep and their folders follow from."""
    sources = [source["path"] for source in hydra["runtime"]["config_sources"] if source["provider"] == "command-line"]
    name, subdir = hydra["job"]["config_name"], hydra["sweep"]["subdir"]
    return [hydra["overrides"]["task"], hydra["sweeper"].get("params"), name, sources, subdir]


def read_record(path: Path) -> Any:
    """Return Hydra's part of the record that it wrote of a run or sweep; None if that is missing or damaged."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    hydra = content.get("hydra") if isinstance(content, dict) else None
    return hydra if _is_record(hydra) else None


def _is_record(hydra: Any) -> bool:
    """Return whether all is there that is read here."""
    try:
        names = [hydra["job"]["config_name"], hydra["sweep"]["subdir"]]
        commands = hydra["overrides"]["task"] + hydra["overrides"]["hydra"] + names
        sources = hydra["runtime"]["config_sources"]
        texts = commands + [source[key] for source in sources for key in ("provider", "path")]
        return isinstance(hydra["sweeper"], dict) and all(isinstance(text, str) for text in texts)
    except (KeyError, TypeError):
        return False
