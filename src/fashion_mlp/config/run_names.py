"""The names of runs: the key `name`, and for a job of a sweep also the overrides that vary."""

import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.resume import SWEEP_CONFIG, load_hydra_config


def name_suffix(name: str | None) -> str:
    """Return what the key `name` adds to the name of a directory."""
    return f"-{name}" if name else ""


def job_name(*, _root_: DictConfig) -> str:
    """Return the name of a job, such as `optimizer=sgd,seed=1`, as a directory name; an empty string for a single run.

    It consists of the key `name`, if it is set, and the overrides that vary in the sweep.
    """
    if not HydraConfig.initialized():
        return ""
    sweep = load_hydra_config(Path(_root_.run_dir).parent / SWEEP_CONFIG)
    if sweep is None:
        return ""
    params = [f"{key}={value}" for key, value in (sweep["sweeper"].get("params") or {}).items()]
    typed = OverridesParser.create().parse_overrides([*params, *sweep["overrides"]["task"]])
    varies = {override.key_or_group: override.is_sweep_override() for override in typed}
    overrides = {text.partition("=")[0].lstrip("+"): text for text in HydraConfig.get().overrides.task}
    varying = [text for key, text in overrides.items() if varies.get(key, True)]  # a search adds keys
    name = ",".join(filter(None, [_root_.get("name"), *varying]))
    return re.sub(r"[^\w.,=+-]", "_", re.sub(r"[]['\"{} ]", "", name))[:100]


def run_name(*, _root_: DictConfig) -> str | None:
    """Return the name of a run or job; None for a single run without the key `name`."""
    return job_name(_root_=_root_) or _root_.get("name")


for resolver in (name_suffix, job_name, run_name):
    OmegaConf.register_new_resolver(resolver.__name__, resolver)
