"""The schema of `lightning.Trainer`: the arguments that it takes, and those that cannot work in a run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import AfterValidator

from fashion_mlp.config.fields import (
    AtLeastZero,
    Count,
    Directory,
    Expected,
    Fraction,
    PartConfig,
    Positive,
    Probability,
    Section,
    Text,
    matches,
)
from fashion_mlp.config.messages import format_value
from fashion_mlp.runtime import ranks

MAX_PROCESSES_PER_CORE = 8
UNLIMITED = Ge(-1)
NOT_ZERO = {
    "max_epochs": "nothing to train. To test a checkpoint use fashion-mlp evaluate",
    "max_steps": "nothing to train. To test a checkpoint use fashion-mlp evaluate",
    "limit_train_batches": "nothing to train. For a short run type trainer.limit_train_batches=1",
    "limit_val_batches": "not supported. For no validation type data.val_size=0",
    "limit_test_batches": "not supported. For no test type test=false",
}


def _is_positive_time(value: Any) -> Any:
    """Refuse a time of no length."""
    if not (value.strip("0:") if isinstance(value, str) else any(value.values())):
        raise ValueError
    return value


def _are_different(devices: list[int]) -> list[int]:
    if not devices or len(set(devices)) < len(devices):
        raise ValueError
    return devices


Unit = Literal["weeks", "days", "hours", "minutes", "seconds"]
Time = Annotated[
    Annotated[str, matches(r"\d+:\d\d:\d\d:\d\d")] | dict[Unit, Annotated[float, Ge(0)]],
    AfterValidator(_is_positive_time),
    Expected("a time as days:hours:minutes:seconds, such as 00:01:30:00"),
]
Devices = Annotated[
    Positive
    | Literal[-1]
    | Annotated[str, matches(r"auto|-1|[1-9]\d*|\d+(,\d+)+")]
    | Annotated[list[Count], AfterValidator(_are_different)],
    Expected("auto, a number of devices, or different indices in brackets"),
]
Strategy = Annotated[
    Annotated[str, matches(r"auto|single_device|(ddp(?!_(spawn|fork|notebook))|fsdp|deepspeed)\w*")] | PartConfig,
    Expected("auto, ddp, ddp_find_unused_parameters_true, fsdp, deepspeed, or an object with a _target_"),
]
Precision = (
    Literal["16-mixed", "bf16-mixed", "16-true", "bf16-true", "32-true", "64-true"]
    | Annotated[Literal["16", "bf16", "32", "64", 16, 32, 64], Expected("null")]
)
Batches = Annotated[Count | Probability | None, Expected("a number of batches, a fraction from 0.0 to 1.0, or null")]


class TrainerConfig(Section):
    """Arguments of `lightning.Trainer`; a test compares them with Lightning's signature.

    `callbacks` and `logger` are config groups.
    """

    targets = ("lightning.Trainer",)
    is_complete = True

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    strategy: Strategy
    devices: Devices
    num_nodes: Positive
    precision: Precision | None
    fast_dev_run: bool | Count
    max_epochs: Annotated[int, UNLIMITED] | None
    min_epochs: Count | None
    max_steps: Annotated[int, UNLIMITED]
    min_steps: Count | None
    max_time: Time | None
    limit_train_batches: Batches
    limit_val_batches: Batches
    limit_test_batches: Batches
    limit_predict_batches: Batches
    overfit_batches: Batches
    val_check_interval: Positive | Fraction | Time | None
    check_val_every_n_epoch: Positive | None
    num_sanity_val_steps: Annotated[int, UNLIMITED] | None
    log_every_n_steps: Positive | None
    enable_checkpointing: bool | None
    enable_progress_bar: bool | None
    enable_model_summary: bool | None
    accumulate_grad_batches: Positive
    gradient_clip_val: AtLeastZero | None
    gradient_clip_algorithm: Literal["norm", "value"] | None
    deterministic: bool | Literal["warn"] | None
    benchmark: bool | None
    inference_mode: bool
    use_distributed_sampler: bool
    profiler: Literal["simple", "advanced", "pytorch"] | PartConfig | None
    detect_anomaly: bool
    barebones: Annotated[Literal[False], Expected("false; to measure speed use fashion-mlp bench")]
    plugins: Annotated[list[PartConfig] | PartConfig | None, Expected("null, or a list of objects with a _target_")]
    sync_batchnorm: bool
    reload_dataloaders_every_n_epochs: Count
    default_root_dir: Directory | None
    enable_autolog_hparams: bool
    model_registry: Text | None

    def conflicts(self, *, multirun: bool) -> Iterator[str]:
        for name, remedy in NOT_ZERO.items():
            if getattr(self, name) == 0:
                yield f"{name}=0: {remedy}"
        if self.accelerator == "cpu" and str(self.precision).startswith("16"):
            yield f"precision={self.precision}: needs a GPU. Type trainer.precision=bf16-mixed"
        if self.sync_batchnorm and self.accelerator == "cpu":
            yield "sync_batchnorm=true: works on GPUs only. Type trainer.sync_batchnorm=false"
        cores, devices = os.cpu_count() or 1, self._num_devices()
        if self.accelerator == "cpu" and devices and devices > MAX_PROCESSES_PER_CORE * cores:
            yield f"devices={devices}: too many processes for {cores} cores"
        settings = f"devices={format_value(self.devices)} trainer.num_nodes={self.num_nodes}"
        if multirun and (devices or _num_gpus()) * self.num_nodes > 1:
            yield f"{settings}: each process would start the whole sweep. Use one device a job, or single runs"
        launch = ranks.detect_launcher()
        if launch is None and self.num_nodes > 1 and "NODE_RANK" not in os.environ:
            yield f"num_nodes={self.num_nodes}: started on one only. Use torchrun or srun; see conf/trainer/ddp.yaml"
        if launch is not None and (devices or launch.devices, self.num_nodes) != (launch.devices, launch.nodes):
            yield (
                f"{settings}: {launch.program} has started {launch.devices} x {launch.nodes} processes. "
                f"Type trainer=ddp trainer.devices={launch.devices} trainer.num_nodes={launch.nodes}"
            )

    def _num_devices(self) -> int | None:
        """Return how many devices of a machine a run uses; None for all of its GPUs."""
        if isinstance(self.devices, list):
            return len(self.devices)
        text = str(self.devices)
        if text in ("auto", "-1"):
            return 1 if self.accelerator == "cpu" else None
        return int(text) if text.isdigit() else len(text.split(","))


def _num_gpus() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
