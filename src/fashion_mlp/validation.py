"""A composed configuration against the schema: ranges, choices, and combinations that cannot work."""

import os
import sys
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from fashion_mlp import processes
from fashion_mlp.suggestions import nearest

VAL_SOURCES = ("val_annotations_file", "val_img_dir")
SOURCES = ("annotations_file", "test_annotations_file", "img_dir", "test_img_dir", *VAL_SOURCES)
"""Keys of `data` that name a file or folder of the reader's own."""


def out_of_range(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield a line for each value that its schema does not allow."""
    for name in map(str, cfg):
        yield from key_out_of_range(cfg, name, prefix)


def key_out_of_range(cfg: DictConfig, name: str, prefix: str = "") -> Iterator[str]:
    """Yield a line for each reason why the schema does not allow the value of one key."""
    schema = OmegaConf.get_type(cfg)
    known: dict[str, Field[Any]] = {entry.name: entry for entry in fields(schema)} if is_dataclass(schema) else {}
    key = f"{prefix}{name}"
    if OmegaConf.is_missing(cfg, name):
        yield f"{key}: has no value; set it with {key}=..."
    elif OmegaConf.is_interpolation(cfg, name):
        return  # a path, which is known only in the run
    elif isinstance(cfg[name], DictConfig):
        yield from out_of_range(cfg[name], f"{key}.")
    elif name in known and cfg[name] is not None:
        yield from _value_problems(key, cfg[name], known[name])
        yield from _wrong_length(key, cfg[name], get_type_hints(schema)[name])


def _value_problems(key: str, value: Any, entry: Field[Any]) -> Iterator[str]:
    allowed = entry.metadata.get("range")
    if allowed is not None:
        numbers = value if isinstance(value, ListConfig) else [value]
        if not all(number in allowed for number in numbers):
            yield f"{key}={shown(value)}: must be {allowed}"
    choices = entry.metadata.get("choices")
    if choices is not None and value not in choices:
        yield f"{key}={value}: no such choice{nearest(str(value), choices)}"


def _wrong_length(key: str, value: Any, hint: Any) -> Iterator[str]:
    if get_origin(hint) is tuple and len(value) != len(get_args(hint)):
        yield f"{key}={shown(value)}: must be {_type_name(hint)}"


def has_validation(cfg: DictConfig) -> bool:
    """Return whether images are held out to validate on."""
    return cfg.data.get("val_size") != 0 or any(cfg.data.get(name) for name in VAL_SOURCES)


def impossible(cfg: DictConfig, multirun: bool) -> Iterator[str]:
    """Yield a line for each combination of values that cannot work."""
    files = {"ckpt_path": cfg.ckpt_path} | {f"data.{name}": cfg.data.get(name) for name in SOURCES if name in cfg.data}
    for key, value in files.items():
        if value is not None and not OmegaConf.is_missing(cfg, key) and not Path(value).exists():
            yield f"{key}={value}: there is no such {'folder' if key.endswith('_dir') else 'file'}"
    shift, sides = OmegaConf.select(cfg, "data.augment.shift", default=0), cfg.data.get("image_size") or [28, 28]
    if shift >= min(sides):
        yield f"data.augment.shift={shift}: must be less than the images' sides, {shown(sides)}"
    train_size = cfg.data.get("train_size")
    if train_size is not None and cfg.data.val_size >= train_size:
        yield f"data.val_size={cfg.data.val_size}: must be less than data.train_size={train_size}"
    if not has_validation(cfg) and str(cfg.scheduler.get("monitor")).startswith("val/"):
        yield (
            f"scheduler.monitor={cfg.scheduler.monitor}: there is no validation with data.val_size=0; "
            "use scheduler.monitor=train/loss"
        )
    if str(cfg.scheduler.get("monitor")).startswith("val/") and cfg.trainer.check_val_every_n_epoch != 1:
        yield (
            f"trainer.check_val_every_n_epoch={shown(cfg.trainer.check_val_every_n_epoch)}: the schedule looks at "
            f"{cfg.scheduler.monitor} after each epoch; use scheduler.monitor=train/loss"
        )
    if cfg.trainer.max_epochs == cfg.trainer.max_steps == -1:
        end = "needs an end; set trainer.max_epochs or trainer.max_steps"
        if cfg.scheduler and "monitor" not in cfg.scheduler:
            yield f"trainer.max_epochs=-1: a schedule {end}"
        if OmegaConf.select(cfg, "data.augment.off_last"):
            yield f"trainer.max_epochs=-1: data.augment.off_last {end}"
    if cfg.optimizer.get("nesterov") and not cfg.optimizer.momentum:
        yield "optimizer.nesterov=true: needs optimizer.momentum greater than 0"
    if cfg.optimizer.get("fused") and str(cfg.trainer.precision).startswith("16") and cfg.trainer.gradient_clip_val:
        yield f"trainer.precision={cfg.trainer.precision}: clipping with it needs optimizer.fused=false"
    if cfg.model.get("norm") == "batch" and cfg.data.batch_size == 1:
        yield "model.norm=batch: needs data.batch_size greater than 1"
    yield from _impossible_processes(cfg.trainer, multirun)
    if cfg.trainer.accelerator in ("gpu", "cuda") and not _may_have_gpu():
        yield f"trainer.accelerator={cfg.trainer.accelerator}: this machine has no GPU; use trainer=auto or trainer=cpu"
    if cfg.trainer.accelerator == "mps" and sys.platform != "darwin":
        yield "trainer.accelerator=mps: only Apple's machines have it; use trainer=auto or trainer=cpu"


def _impossible_processes(trainer: DictConfig, multirun: bool) -> Iterator[str]:
    strategy = str(trainer.strategy)
    if any(word in strategy for word in ("spawn", "fork", "notebook")):
        yield f"trainer.strategy={strategy}: the run's log and results would be lost with its processes; use ddp"
    if trainer.sync_batchnorm and trainer.accelerator == "cpu":
        yield "trainer.sync_batchnorm=true: works on GPUs only"
    devices, nodes = _num_devices(trainer), trainer.num_nodes
    settings = f"trainer.devices={shown(trainer.devices)} trainer.num_nodes={nodes}"
    if multirun and (devices or _num_gpus()) * nodes > 1:
        yield (
            f"{settings}: in a multirun each process would start the whole sweep again; use one device a job, "
            "or start single runs one after the other"
        )
    launch = processes.launch()
    if launch is not None and (devices or launch.devices, nodes) != (launch.devices, launch.nodes):
        yield (
            f"{settings}: {launch.program} has started {launch.devices} x {launch.nodes} processes; "
            f"use trainer=ddp trainer.devices={launch.devices} trainer.num_nodes={launch.nodes}"
        )
    if launch is None and nodes > 1 and "NODE_RANK" not in os.environ:
        yield f"trainer.num_nodes={nodes}: start the run on each machine by torchrun or srun; see conf/trainer/ddp.yaml"


def _num_devices(trainer: DictConfig) -> int | None:
    """Return how many devices of a machine a run takes; None for all of its GPUs."""
    if isinstance(trainer.devices, ListConfig):
        return len(trainer.devices)
    text = str(trainer.devices)
    if text in ("auto", "-1"):
        return 1 if trainer.accelerator == "cpu" else None
    return int(text) if text.isdigit() else len(text.split(","))


def _num_gpus() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _may_have_gpu() -> bool:
    """Return False only where there is surely none; what there is, torch finds out later."""
    if not sys.platform.startswith("linux"):
        return True
    devices = ("nvidia[0-9]*", "nvidia-caps", "kfd", "dxg")  # NVIDIA, ROCm, Windows' Linux
    return any(path for pattern in devices for path in Path("/dev").glob(pattern))


def expected_type(cfg: DictConfig, key: str, error: Exception) -> str:
    """Return what a key takes, after OmegaConf refused a value with `error`."""
    parent, _, name = key.rpartition(".")
    schema = OmegaConf.get_type(OmegaConf.select(cfg, parent) if parent else cfg)
    hints = get_type_hints(schema) if is_dataclass(schema) else {}
    return f"must be {_type_name(hints[name])}" if name in hints else str(error).splitlines()[0]


def _type_name(hint: Any) -> str:
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if hint in names:
        return names[hint]
    if is_dataclass(hint):
        return f"set by its keys: {', '.join(entry.name for entry in fields(hint) if not entry.name.startswith('_'))}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_type_name(option) for option in get_args(hint))
    if get_origin(hint) is list:
        return f"a list in brackets, each {_type_name(get_args(hint)[0])}"
    if get_origin(hint) is tuple:
        return f"a list in brackets of {len(get_args(hint))}, each {_type_name(get_args(hint)[0])}"
    return str(hint)


def shown(value: Any) -> str:
    """Write a value as one would on the command line."""
    if isinstance(value, list | ListConfig):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
