"""A job of a sweep in a process of its own, in which Lightning, torchrun or srun can start one process per device."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, cast

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.command_line import CONF, hydra_quote
from fashion_mlp.config.schema import TrainerConfig
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.signals import SIGNALS, Interrupted, handle

# Variables of an srun that started the sweep. In its job, Lightning would wait for processes from that srun.
SLURM_STEP = ("SLURM_STEP_ID", "SLURM_STEPID")


def needs_new_process(cfg: DictConfig, hydra_cfg: HydraConf) -> bool:
    """Return whether a job has several devices, or `hydra/launcher=process` was chosen."""
    is_chosen = hydra_cfg.runtime.choices["hydra/launcher"] == "process"
    trainer: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    return is_chosen or TrainerConfig.model_construct(**trainer).num_processes() > 1


def run_in_new_process(directory: Path, hydra_cfg: HydraConf) -> None:
    """Start or resume a job as a single run, and wait until it has ended.

    Signals are forwarded to the job. Its stderr is passed on, except for its error.

    Args:
        directory: of the job, in which Hydra has saved its configuration.
        hydra_cfg: Hydra's part of that configuration.

    Raises:
        UserError: the job failed.
        Interrupted: by a signal, after the job has saved its state.
    """
    environment = {name: value for name, value in os.environ.items() if name not in SLURM_STEP}
    received: list[int] = []
    errors: list[str] = []
    line = "its process ended without a message"

    def forward(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        process.send_signal(signum)

    with (
        subprocess.Popen(
            _command(directory, hydra_cfg),
            cwd=hydra_cfg.runtime.cwd,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        handle(*SIGNALS, handler=forward),
    ):
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(("error: ", "interrupted")):
                errors.append(line.removeprefix("error: "))
            else:
                sys.stderr.write(line)
        process.wait()
    if received:
        raise Interrupted(received[0], "".join(errors).partition("; resume with")[0])
    if process.returncode < 0:
        raise UserError(f"its process was ended by {signal.Signals(-process.returncode).name}")
    if process.returncode:
        raise UserError(*errors or [line])


def _command(directory: Path, hydra_cfg: HydraConf) -> list[str]:
    """Return the command line that resumes the run in the directory of a job."""
    program = shlex.split(
        OmegaConf.select(cast("DictConfig", hydra_cfg), "launcher.command") or shlex.quote(sys.executable)
    )
    place = [f"hydra.sweep.dir={hydra_quote(hydra_cfg.sweep.dir)}", f"hydra.job.num={hydra_cfg.job.num}"]
    return [*program, str(CONF.parent / "train.py"), f"resume={hydra_quote(directory)}", *place]
