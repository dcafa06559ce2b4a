"""The Trainer's arguments whose types OmegaConf cannot express, and those with which this project cannot train."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from fashion_mlp import processes
from fashion_mlp.suggestions import shown

PROCESSES_A_CORE = 8
"""More on a CPU only wait for each other."""
UNITS = ("weeks", "days", "hours", "minutes", "seconds")
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true", "fsdp", "deepspeed")
"""Those to suggest."""
RARE_STRATEGY = re.compile(r"(deepspeed|fsdp|single_device|ddp_spawn|ddp_fork|ddp_notebook)\w*")
"""Others of Lightning's registry, which it or `_impossible_processes` judges."""
PRECISIONS = ("16-mixed", "16-true", "bf16-mixed", "bf16-true", "32-true", "64-true", "16", "bf16", "32", "64")
TIME = "a time as days:hours:minutes:seconds, 00:01:30:00"


def _is_built(value: Any) -> bool:
    """Return whether a value describes an object, or several, which Lightning gets ready made."""
    values = value if isinstance(value, list) and value else [value]
    return all(isinstance(each, dict) and "_target_" in each for each in values)


def _are_devices(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and len(set(map(str, value))) == len(value) and all(type(x) is int and x >= 0 for x in value)
    if isinstance(value, str):
        return value in ("auto", "-1") or bool(re.fullmatch(r"\d+(,\d+)+|[1-9]\d*", value))
    return type(value) is int and (value >= 1 or value == -1)


def _is_time(value: Any) -> bool:
    """Return whether a value is a positive time, as Lightning reads it."""
    if isinstance(value, dict):
        return (
            set(value) <= set(UNITS)
            and all(type(x) in (int, float) and 0 <= x < 1e6 for x in value.values())
            and any(value.values())
        )
    return isinstance(value, str) and bool(re.fullmatch(r"\d+:\d\d:\d\d:\d\d", value)) and bool(value.strip("0:"))


def _is_interval(value: Any) -> bool:
    if type(value) is float:
        return 0 < value <= 1
    return (type(value) is int and 1 <= value < 2**63) or _is_time(value)


def _is_strategy(value: Any) -> bool:
    return isinstance(value, str) and (value in STRATEGIES or bool(RARE_STRATEGY.fullmatch(value)))


EXPECTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "devices": (_are_devices, "auto, a number of at least 1, or different numbers of devices in brackets"),
    "strategy": (_is_strategy, f"one of {', '.join(STRATEGIES)}"),
    "precision": (
        lambda value: value is None or (not isinstance(value, bool) and str(value) in PRECISIONS),
        f"one of {', '.join(PRECISIONS[:6])}",
    ),
    "max_time": (lambda value: value is None or _is_time(value), f"null, or {TIME}"),
    "val_check_interval": (
        lambda value: value is None or _is_interval(value),
        f"null, a number of steps, a part of an epoch above 0 and up to 1.0, or {TIME}",
    ),
    "deterministic": (
        lambda value: value is None or isinstance(value, bool) or value == "warn",
        "null, true, false or warn",
    ),
    "profiler": (
        lambda value: value is None or value in ("simple", "advanced", "pytorch"),
        "null, simple, advanced or pytorch",
    ),
    "plugins": (lambda value: value is None or value == [], "null, or objects with a _target_"),
}
"""What each argument may be, and how that is said."""


def trainer_problems(trainer: DictConfig, multirun: bool) -> Iterator[str]:
    """Yield a line for each argument of the Trainer that it would refuse, or that cannot work here."""
    values: Any = OmegaConf.to_container(trainer)
    for name, (is_right, expected) in EXPECTED.items():
        value = values.get(name)
        if not OmegaConf.is_interpolation(trainer, name) and not is_right(value) and not _is_built(value):
            yield f"trainer.{name}={shown(value)}: must be {expected}"
    if trainer.max_epochs == 0 or trainer.max_steps == 0:
        name = "max_epochs" if trainer.max_epochs == 0 else "max_steps"
        yield f"trainer.{name}=0: trains nothing; to measure a checkpoint use fashion-mlp evaluate"
    for name, instead in (
        ("limit_train_batches", "for a short run write trainer.limit_train_batches=1"),
        ("limit_val_batches", "for no validation write data.val_size=0"),
        ("limit_test_batches", "for no test write test=false"),
    ):
        if trainer.get(name) == 0:
            yield f"trainer.{name}=0: {instead}"
    if trainer.barebones:
        yield "trainer.barebones=true: a run needs what it leaves out; to measure speed use fashion-mlp bench"
    yield from _impossible_processes(trainer, multirun)
    yield from _absent_devices(trainer)


def _impossible_processes(trainer: DictConfig, multirun: bool) -> Iterator[str]:
    strategy = str(trainer.strategy)
    if any(word in strategy for word in ("spawn", "fork", "notebook")):
        yield f"trainer.strategy={strategy}: the run's log and results would be lost with its processes; use ddp"
    if trainer.sync_batchnorm and trainer.accelerator == "cpu":
        yield "trainer.sync_batchnorm=true: works on GPUs only"
    if not _are_devices(OmegaConf.to_container(trainer)["devices"]):  # type: ignore[call-overload,index]
        return  # told already
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


def _absent_devices(trainer: DictConfig) -> Iterator[str]:
    accelerator, devices = trainer.accelerator, trainer.devices
    if accelerator in ("gpu", "cuda") and not _may_have_gpu():
        yield f"trainer.accelerator={accelerator}: this machine has no GPU; use trainer=auto or trainer=cpu"
    if accelerator == "mps" and sys.platform != "darwin":
        yield "trainer.accelerator=mps: only Apple's machines have it; use trainer=auto or trainer=cpu"
    if accelerator != "cpu" and (accelerator != "auto" or _may_have_gpu()):
        return
    cores = os.cpu_count() or 1
    if trainer.precision is not None and str(trainer.precision).startswith("16"):
        yield f"trainer.precision={trainer.precision}: needs a GPU; on a CPU use trainer.precision=bf16-mixed"
    if isinstance(devices, ListConfig):
        if accelerator == "cpu" and _are_devices(OmegaConf.to_container(devices)):
            yield f"trainer.devices={shown(devices)}: a CPU has no numbers; write how many processes"
    elif _are_devices(devices) and str(devices).isdigit() and int(devices) > PROCESSES_A_CORE * cores:
        yield f"trainer.devices={devices}: so many processes are too much for {cores} cores"


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
