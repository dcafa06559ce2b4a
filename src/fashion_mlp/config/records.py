"""What a run or sweep records in its directory: configuration, overrides, which give the names of jobs, and results."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.schema import LAYER_KEYS
from fashion_mlp.runtime.atomic import atomic_write

# The directory of a run's `config.yaml`, `hydra.yaml` and `overrides.yaml`, and the file of a sweep.
HYDRA_DIR = ".hydra"
SWEEP_CONFIG = "multirun.yaml"
# The result of a run.
METRICS_FILE = "metrics.json"
# Stands for the value of a key that a configuration lacks.
ABSENT = "(absent)"
# A number from an environment variable, as an override or in a YAML file.
NUMBER_FROM_ENVIRONMENT = re.compile(r"""['"]?\$\{oc\.decode:(\$\{oc\.env:[^${}]*\})\}['"]?""")


def save_config(directory: Path, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Record the configuration and overrides of a run, and delete its old `metrics.json`."""
    if not (directory / HYDRA_DIR).is_dir():  # hydra.output_subdir=null: the run cannot be resumed
        return
    (directory / METRICS_FILE).unlink(missing_ok=True)  # it marks a run as complete
    for name, content in (("config", cfg), ("overrides", OmegaConf.create(list(overrides)))):
        with atomic_write(directory / HYDRA_DIR / f"{name}.yaml") as file:
            file.write(freeze_environment(OmegaConf.to_yaml(content)).encode())


def freeze_environment(text: str) -> str:
    """Replace numbers from environment variables, which may change before a run is resumed, by their values.

    Text from a variable, such as a path or a password, remains a reference.
    """
    return NUMBER_FROM_ENVIRONMENT.sub(lambda match: str(OmegaConf.create([match[1]])[0]), text)


def task_overrides(hydra_cfg: HydraConf) -> list[str]:
    """Return the overrides of a run or job as they were typed, without resolving interpolations."""
    overrides: Any = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
    return list(overrides)


def load_hydra_config(path: Path) -> Any:
    """Return the key `hydra` of a recorded configuration; None if the file is missing or damaged."""
    try:
        hydra = load_yaml(path)["hydra"]
        task, _, name, directories, _ = sweep_definition(hydra)
        is_valid = _are_strings([*task, *hydra["overrides"]["hydra"], name, *directories])
    except (AttributeError, KeyError, TypeError):
        return None
    return hydra if is_valid else None


def sweep_definition(hydra: Any) -> list[Any]:
    """Return the values of the key `hydra` that determine the jobs of a sweep and their directories."""
    name, subdir = hydra["job"]["config_name"], hydra["sweep"]["subdir"]
    return [hydra["overrides"]["task"], hydra["sweeper"].get("params"), name, config_dirs(hydra), subdir]


def config_dirs(hydra: Any) -> list[str]:
    """Return the directories that were given with `--config-dir`."""
    sources = hydra["runtime"]["config_sources"]
    return [source["path"] for source in sources if source["provider"] == "command-line"]


def _are_strings(values: Any) -> bool:
    """Return True if a value is a list of strings."""
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file, without resolving interpolations; None if it is missing or damaged."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def load_record(directory: Path) -> tuple[Any, list[str]] | None:
    """Return Hydra's part of a run's configuration, and its overrides; None if the record is incomplete."""
    hydra = load_hydra_config(directory / HYDRA_DIR / "hydra.yaml")
    overrides, config = (load_yaml(directory / HYDRA_DIR / f"{name}.yaml") for name in ("overrides", "config"))
    return (hydra, overrides) if hydra and isinstance(config, dict) and _are_strings(overrides) else None


def differences(recorded: Any, current: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each key whose values differ, with both; `ABSENT` for a key that one of two configurations lacks."""
    if isinstance(recorded, dict) and isinstance(current, dict):
        for name in {**recorded, **current}:
            path = f"{key}.{name}" if key else str(name)
            yield from differences(recorded.get(name, ABSENT), current.get(name, ABSENT), path)
    elif recorded != current:
        yield key, recorded, current


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Return the metrics of a complete run; None if `metrics.json` is missing, damaged or of an incomplete run."""
    metrics = read_json(run_dir / METRICS_FILE)
    return metrics if metrics.get("complete") is True and str(metrics.get("objective")) in metrics else None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, with NaN for a metric that is null; empty if the file is missing or damaged."""
    try:
        items = json.loads(path.read_text()).items()
    except (OSError, ValueError, RecursionError, AttributeError):  # the last one if it is not an object
        return {}
    # Only metrics have a slash in their names. JSON has neither NaN nor infinity.
    return {key: math.nan if value is None and "/" in key else value for key, value in items}


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics.json` atomically."""
    with atomic_write(path) as file:
        rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in metrics.items()}
        file.write((to_json(rounded) + "\n").encode())


def to_json(values: Any) -> str:
    """Return plain values as JSON; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(json.loads(json.dumps(values), parse_constant=lambda _: None), indent=2)


def name_suffix(name: str | None) -> str:
    """Return what the key `name` adds to the name of a directory."""
    return f"-{name}" if name else ""


def job_name(*, _root_: DictConfig) -> str:
    """Return the name of a job, such as `optimizer=sgd,seed=1`, as a directory name; an empty string for a single run.

    It consists of the key `name`, if it is set, and the overrides that vary in the sweep.
    """
    if not HydraConfig.initialized():
        return ""
    path = Path(_root_.run_dir).parent / SWEEP_CONFIG
    if not path.is_file():
        return ""
    overrides = {text.partition("=")[0].lstrip("+"): text for text in HydraConfig.get().overrides.task}
    swept = _swept_keys(path, path.stat().st_mtime_ns)
    varying = [text for key, text in overrides.items() if key in swept]
    name = ",".join(filter(None, [_root_.get("name"), *varying]))
    return re.sub(r"[^\w.,=+-]", "_", re.sub(r"[]['\"{} ]", "", name))[:100]


@lru_cache(maxsize=1)
def _swept_keys(path: Path, mtime: int) -> set[str]:
    """Return the keys and groups that vary in a sweep; each job asks for them several times.

    Args:
        path: the recorded configuration of the sweep.
        mtime: the time of its last change.
    """
    sweep = load_hydra_config(path)
    if sweep is None:
        return set()
    params = [f"{key}={value}" for key, value in (sweep["sweeper"].get("params") or {}).items()]
    typed = OverridesParser.create().parse_overrides([*params, *sweep["overrides"]["task"]])
    varies = {override.key_or_group: override.is_sweep_override() for override in typed}  # the last one of a key wins
    # A job of a search gets the `model.hidden_sizes` that a width and a depth describe.
    return {"model.hidden_sizes" if key in LAYER_KEYS else key for key, is_swept in varies.items() if is_swept}


def run_name(*, _root_: DictConfig) -> str | None:
    """Return the name of a run or job; None for a single run without the key `name`."""
    return job_name(_root_=_root_) or _root_.get("name")


for resolver in (name_suffix, job_name, run_name):
    OmegaConf.register_new_resolver(resolver.__name__, resolver)
