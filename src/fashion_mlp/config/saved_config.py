"""Save and load the configuration of a run or sweep, in the files from which Hydra's command line can be replayed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_result import METRICS_FILE

# The directory of a run's `config.yaml`, `hydra.yaml` and `overrides.yaml`, and the file of a sweep.
HYDRA_DIR = ".hydra"
SWEEP_CONFIG = "multirun.yaml"
# A number from an environment variable, as an override or in a YAML file.
NUMBER_FROM_ENVIRONMENT = re.compile(r"""['"]?\$\{oc\.decode:(\$\{oc\.env:[^${}]*\})\}['"]?""")


def save_config(directory: Path, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Write the configuration and overrides of a run, which `resume` reads, and delete its old `metrics.json`.

    Raises:
        UserError: the directory is not writable.
    """
    if not (directory / HYDRA_DIR).is_dir():  # hydra.output_subdir=null: the run cannot be resumed
        return
    try:
        (directory / METRICS_FILE).unlink(missing_ok=True)  # it marks a run as complete
        for name, content in (("config", cfg), ("overrides", OmegaConf.create(list(overrides)))):
            with atomic_write(directory / HYDRA_DIR / f"{name}.yaml") as file:
                file.write(freeze_environment(OmegaConf.to_yaml(content)).encode())
    except OSError as error:
        raise UserError(f"{directory}: not writable ({error.strerror}). Make it writable, or free space") from error


def freeze_environment(text: str) -> str:
    """Replace numbers from environment variables, which may change before a run is resumed, by their values.

    Text from a variable, such as a path or a password, remains a reference.
    """
    return NUMBER_FROM_ENVIRONMENT.sub(lambda match: str(OmegaConf.create([match[1]])[0]), text)


def load_hydra_config(path: Path) -> Any:
    """Return the key `hydra` of a saved configuration; None if the file is missing or damaged."""
    try:
        hydra = load_yaml(path)["hydra"]
        task, _, name, directories, _ = sweep_definition(hydra)
        is_valid = are_strings([*task, *hydra["overrides"]["hydra"], name, *directories])
    except (AttributeError, KeyError, TypeError):
        return None
    return hydra if is_valid else None


def task_overrides(hydra_cfg: HydraConf) -> list[str]:
    """Return the overrides of a run or job as they were typed, without resolving interpolations."""
    overrides: Any = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
    return list(overrides)


def config_dirs(hydra: Any) -> list[str]:
    """Return the directories that were given with `--config-dir`."""
    sources = hydra["runtime"]["config_sources"]
    return [source["path"] for source in sources if source["provider"] == "command-line"]


def sweep_definition(hydra: Any) -> list[Any]:
    """Return the values of the key `hydra` that determine the jobs of a sweep and their directories."""
    name, subdir = hydra["job"]["config_name"], hydra["sweep"]["subdir"]
    return [hydra["overrides"]["task"], hydra["sweeper"].get("params"), name, config_dirs(hydra), subdir]


def are_strings(values: Any) -> bool:
    """Return whether a value is a list of strings."""
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file, without resolving interpolations; None if it is missing or damaged."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
