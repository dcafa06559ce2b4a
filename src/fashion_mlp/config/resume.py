"""Resume an interrupted run or sweep: `python train.py resume=DIR` or `resume_sweep=DIR`.

The overrides that Hydra recorded in the directory are replayed. A run may change a few of its keys; the rest of its
configuration must equal the recorded one.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, ListConfig, OmegaConf

from fashion_mlp.config.command_line import parse_flags
from fashion_mlp.config.messages import format_value
from fashion_mlp.config.records import METRICS, JobRecord, get_objective, read_result
from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import hydra_quote, relative_to_cwd

log = logging.getLogger(__name__)

RECORD = ".hydra"
SWEEP_RECORD = "multirun.yaml"
# Keys that a resumed run may change: they do not change the weights after a given number of epochs.
OVERRIDABLE = (
    "checkpoint.every_n_seconds",
    "checkpoint.every_n_steps",
    "data.num_workers",
    "data.root",
    "test",
    "trainer.max_epochs",
)
ABSENT = "(absent)"
NOT_COMPARED = ("resume", "run_dir")
# Overrides that depend on the directory.
REPLACED = ("hydra.run.dir=", "hydra.output_subdir=", "hydra.mode=", "hydra.sweep.dir=")


def expand_resume(argv: Sequence[str]) -> list[str]:
    """Return the command line that replays the run or sweep which `resume` or `resume_sweep` names; else `argv`.

    Overrides of Hydra keys may be added, such as another launcher. The replayed command does what the recorded one
    did, so the directory must be trusted.

    Raises:
        UserError: there is no such run or sweep.
    """
    args = parse_flags(argv)
    named = {key: text for text in args.overrides for key in ("resume", "resume_sweep") if text.startswith(f"{key}=")}
    named = {key: text for key, text in named.items() if text != f"{key}=null"}
    if not named or args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        return list(argv)
    (key, text) = next(iter(named.items()))
    directory = Path(text.partition("=")[2].strip("'\""))
    if not directory.is_dir() or directory == Path():
        raise UserError(
            f"{text}: no such directory. Type {key}=DIR with that of a {'run' if key == 'resume' else 'sweep'}"
        )
    added = [text for text in args.overrides if text not in named.values()]
    hydra_added = [text for text in added if text.startswith(("hydra.", "hydra/"))]
    others = [text for text in added if text not in hydra_added]
    if key == "resume":
        if args.multirun:
            raise UserError(f"{text}: resumes a single run. Type it without -m, or resume_sweep=DIR for a sweep")
        return _replay_run(text, directory, hydra_added, others)
    if others:
        raise UserError(f"{' '.join(others)}: not supported with {text}. Remove it, or start a new sweep")
    return _replay_sweep(text, directory, hydra_added)


def _replay_run(typed: str, directory: Path, hydra_added: Sequence[str], others: Sequence[str]) -> list[str]:
    hydra = read_record(directory / RECORD / "hydra.yaml")
    recorded, config = (_read(directory / RECORD / f"{name}.yaml") for name in ("overrides", "config"))
    is_list = isinstance(recorded, list) and all(isinstance(text, str) for text in recorded)
    if hydra is None or not is_list or not isinstance(config, dict):
        if (directory / SWEEP_RECORD).exists():
            raise UserError(f"{typed}: holds a sweep. Type resume_sweep={directory}")
        last = directory / "checkpoints" / "last.ckpt"
        remedy = f"Start a new run{f' with ckpt_path={last}' if last.is_file() else ''}"
        raise UserError(f"{typed}: no record of a run ({RECORD} is missing or damaged). {remedy}")
    latest = {text.partition("=")[0]: _with_recorded_value(text, OmegaConf.create(config)) for text in recorded}
    kept = [text for text in (*hydra["overrides"]["hydra"], *hydra_added) if not text.startswith(REPLACED)]
    place = [f"hydra.run.dir={hydra_quote(directory)}", "hydra.output_subdir=null", "hydra.mode=RUN"]
    changed = [text for text in others if text not in latest.values()]
    return [*_recorded_flags(hydra), *kept, *place, *latest.values(), *changed, f"resume={hydra_quote(directory)}"]


def _replay_sweep(typed: str, directory: Path, hydra_added: Sequence[str]) -> list[str]:
    hydra = read_record(directory / SWEEP_RECORD)
    if hydra is None:
        raise UserError(f"{typed}: no record of a sweep ({SWEEP_RECORD} is missing or damaged)")
    has_launcher = any(text.startswith("hydra/launcher=") for text in hydra_added)
    replaced = (*REPLACED, *(("hydra/launcher=", "hydra.launcher.") if has_launcher else ()))
    kept = [text for text in hydra["overrides"]["hydra"] if not text.startswith(replaced)]
    place = f"hydra.sweep.dir={hydra_quote(directory)}"
    return ["--multirun", *_recorded_flags(hydra), *kept, *hydra["overrides"]["task"], place, *hydra_added]


def _recorded_flags(hydra: Any) -> list[str]:
    """Return the flags of a recorded command line that its replay needs."""
    flags = [] if hydra["job"]["config_name"] == "train" else ["--config-name", hydra["job"]["config_name"]]
    return flags + [part for path in _config_dirs(hydra) for part in ("--config-dir", path)]


def _config_dirs(hydra: Any) -> list[str]:
    sources = hydra["runtime"]["config_sources"]
    return [source["path"] for source in sources if source["provider"] == "command-line"]


def resume(cfg: DictConfig, overrides: Sequence[str], train: Callable[..., float]) -> float:
    """Resume the run that `cfg.resume` names, unless it is complete.

    Args:
        cfg: composed from the recorded overrides and from those that were added.
        overrides: these.
        train: `fashion_mlp.training.train`.

    Returns:
        What `train` returns, or the objective of a complete run.

    Raises:
        UserError: the configuration differs from the recorded one in more than the keys in `OVERRIDABLE`.
    """
    directory = Path(to_absolute_path(cfg.resume))
    name = relative_to_cwd(directory)
    recorded = _read(directory / RECORD / "config.yaml")
    current: Any = OmegaConf.to_container(resolve_environment(cfg))
    typed = [text for text in overrides if not text.startswith("resume=")]
    if problems := list(dict.fromkeys(_problems(name, recorded, current, typed))):
        raise UserError(*problems)
    result = read_result(Path(cfg.run_dir))
    is_longer = cfg.trainer.max_epochs != recorded["trainer"]["max_epochs"]
    if result is None or is_longer:
        return train(cfg, typed, resumed=True, before_fit=partial(record, directory, cfg, typed))
    objective = get_objective(result)
    log.info(f"{name}: complete, with {objective} {result[objective]:.4f} after {result['epochs']} epochs")
    return float(result[objective])


def _with_recorded_value(override: str, config: DictConfig) -> str:
    """Return an override with the value that an environment variable had when the run was started, if recorded."""
    key = override.partition("=")[0]
    if "${oc.env:" not in override:
        return override
    parent, _, name = key.lstrip("+").rpartition(".")
    value = (OmegaConf.select(config, parent) if parent else config)._get_node(name)
    return override if "${oc.env:" in str(value) else f"{key}={format_value(OmegaConf.create([value])[0])}"


def resolve_environment(cfg: DictConfig) -> DictConfig:
    """Return a configuration with the values of environment variables instead of references to them, except for text.

    When a run is resumed, a variable may have changed. A path or a password stays a reference.
    """
    resolved = cfg.copy()
    for node, name in _environment_references(resolved):
        if not isinstance(node[name], str):
            node[name] = node[name]
    return resolved


def _environment_references(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value that refers to an environment variable, as its container and its name there."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    names: Any = node.keys() if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        child: Any = node._get_node(name)
        if not child._is_interpolation():
            yield from _environment_references(child)
        elif "${oc.env:" in child._value():
            yield node, name


def record(directory: Path, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Write the configuration and overrides of a run for its resumption, and remove the results that it continues from.

    Raises:
        UserError: the directory is not writable.
    """
    if not (directory / RECORD).is_dir():  # hydra.output_subdir=null: the run cannot be resumed
        return
    config = resolve_environment(cfg)
    config["resume"] = None
    try:
        (directory / METRICS).unlink(missing_ok=True)  # it marks a run as complete
        for name, content in (("config", config), ("overrides", OmegaConf.create(list(overrides)))):
            with atomic_write(directory / RECORD / f"{name}.yaml") as file:
                file.write(OmegaConf.to_yaml(content).encode())
    except OSError as error:
        raise UserError(f"{directory}: not writable ({error.strerror}). Make it writable, or free space") from error


def _problems(directory: Path, recorded: Any, current: Mapping[str, Any], typed: Sequence[str]) -> Iterator[str]:
    for key, before, now in _differences(recorded, current):
        if key in NOT_COMPARED:
            continue
        by_override = [text for text in typed if f"{key}.".startswith(f"{text.partition('=')[0].lstrip('+~')}.")]
        if key == "trainer.max_epochs":
            yield from _max_epochs_problems(before, now, current)
        elif key not in OVERRIDABLE and by_override:
            yield f"{by_override[-1]}: would change the course of the run; resume takes {', '.join(OVERRIDABLE)} only"
        elif ABSENT in (before, now):
            last = directory / "checkpoints" / "last.ckpt"
            yield (
                f"resume={directory}: recorded by another version, since only one of two configurations has {key}. "
                f"Start a new run with its weights: ckpt_path={last} ckpt_part=weights"
            )
        elif key not in OVERRIDABLE:
            value = format_value(before)
            yield f"{key}={format_value(now)}: {directory} was started with {value}. Type {key}={value}"


def _differences(recorded: Any, current: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each key whose values differ, with both; `ABSENT` for a key that one of two configurations lacks."""
    if not (isinstance(recorded, dict) and isinstance(current, dict)):
        if recorded != current:
            yield key, recorded, current
        return
    for name in {**recorded, **current}:
        before, now = recorded.get(name, ABSENT), current.get(name, ABSENT)
        yield from _differences(before, now, f"{key}.{name}" if key else str(name))


def _max_epochs_problems(before: Any, now: Any, current: Mapping[str, Any]) -> Iterator[str]:
    text = f"trainer.max_epochs={format_value(now)}"
    if not (type(before) is int and type(now) is int and 0 < before < now):
        yield f"{text}: the run has {format_value(before)} epochs. Expected a larger number, or the same"
    planned = [
        *(["data.augment.off_fraction"] if current["data"].get("augment", {}).get("off_fraction") else []),
        *(["the schedule"] if _depends_on_length(current["scheduler"]) else []),
    ]
    if planned:
        yield (
            f"{text}: {planned[0]} was planned for {format_value(before)} epochs. Start a new run with its weights: "
            "ckpt_path=.../checkpoints/last.ckpt ckpt_part=weights"
        )


def _depends_on_length(scheduler: Mapping[str, Any] | None) -> bool:
    """Return True unless the definition of a schedule states that it does not depend on the length of the run."""
    if not scheduler:
        return False
    return getattr(resolve_name(str(scheduler["_target_"])), "depends_on_length", True) is not False


def check_same_sweep(directory: Path, config: DictConfig, jobs: Sequence[JobRecord]) -> None:
    """Check that a directory is free for a sweep, or holds the same sweep, which was interrupted.

    Args:
        directory: of the sweep.
        config: of the sweep.
        jobs: found in the directory.

    Raises:
        UserError: it holds another sweep, or directories that a job of this one would write to.
    """
    before = read_record(directory / SWEEP_RECORD)
    if before is None:
        foreign = [job.folder for job in jobs] or sorted(path for path in directory.glob("*") if path.name.isdecimal())
    else:
        now: Any = OmegaConf.to_container(config.hydra, resolve=False)
        if _jobs_of(before) != _jobs_of(now):
            raise UserError(
                f"hydra.sweep.dir={directory}: holds another sweep ({' '.join(before['overrides']['task'])}). Choose "
                f"another directory, or resume that sweep with resume_sweep={directory}"
            )
        keys = {text.partition("=")[0] for text in now["overrides"]["task"]} | set(now["sweeper"].get("params") or {})
        foreign = [job.folder for job in jobs if job.overrides.keys() != keys]
    if foreign:
        raise UserError(
            f"hydra.sweep.dir={directory}: {foreign[0]} exists and is not of this sweep. Choose another hydra.sweep.dir"
        )


def _jobs_of(hydra: Any) -> list[Any]:
    """Return what the jobs of a sweep and their directories follow from."""
    name, subdir = hydra["job"]["config_name"], hydra["sweep"]["subdir"]
    return [hydra["overrides"]["task"], hydra["sweeper"].get("params"), name, _config_dirs(hydra), subdir]


def read_record(path: Path) -> Any:
    """Return Hydra's part of the record that it wrote of a run or sweep; None if that is missing or damaged."""
    content = _read(path)
    hydra: Any = content.get("hydra") if isinstance(content, dict) else None
    try:
        names = [hydra["job"]["config_name"], hydra["sweep"]["subdir"]]
        texts = [*hydra["overrides"]["task"], *hydra["overrides"]["hydra"], *names, *_config_dirs(hydra)]
        is_valid = isinstance(hydra["sweeper"], dict) and all(isinstance(text, str) for text in texts)
    except (KeyError, TypeError):
        return None
    return hydra if is_valid else None


def _read(path: Path) -> Any:
    """Return the content of a YAML file, its interpolations as they are; None if it is missing or damaged."""
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
