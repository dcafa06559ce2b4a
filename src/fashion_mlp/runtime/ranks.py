"""The processes of a run, one a device: which of them this is and who started them, by the environment alone.

Lightning starts the processes of one machine itself; torchrun and SLURM's srun start those of one machine or several,
each with the same command line. The run's folder, its log and its words on the terminal are the first process's.
"""

import os
import threading
import time
from typing import NamedTuple

PARENT = os.getppid()
# Environment variable with the process of the run that has started this one, as Lightning does it.
LAUNCHER = "FASHION_MLP_LAUNCHER"
# Seconds in which a run whose first process has failed ends the others.
GRACE = 15.0


class Launch(NamedTuple):
    """A program that has started the processes of this run, how many on each machine, and on how many machines."""

    program: str
    devices: int
    nodes: int


def is_rank_zero() -> bool:
    """Return whether this is the first process of the run."""
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    # Where Lightning is started by hand on each machine, they are told apart by NODE_RANK only.
    return all(int(os.environ.get(name, 0)) == 0 for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def launch() -> Launch | None:
    """Return who has started the processes of this run; None if Lightning is to do it."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return Launch("torchrun", devices, int(os.environ["WORLD_SIZE"]) // devices)
    if "SLURM_NTASKS" in os.environ and _in_slurm_step():
        nodes = int(os.environ.get("SLURM_NNODES", 1))
        return Launch("srun", int(os.environ["SLURM_NTASKS"]) // nodes, nodes)
    return None


def ignore_slurm_allocation() -> None:
    """Let Lightning start the processes in a SLURM allocation without srun: it would wait for those of srun."""
    if "SLURM_NTASKS" in os.environ and not _in_slurm_step():
        os.environ["SLURM_JOB_NAME"] = "interactive"  # by which Lightning recognizes a shell


def _in_slurm_step() -> bool:
    """Return whether srun has started this process, and not a shell in an allocation."""
    is_shell = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return not is_shell and ("SLURM_STEP_ID" in os.environ or "SLURM_STEPID" in os.environ)


def end_with_launcher() -> None:
    """End this process when the one that Lightning has started it from is gone, however that one ended.

    Before they have met, it would wait for that one for half an hour.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        os.environ[LAUNCHER] = str(os.getpid())
    elif LAUNCHER in os.environ and launch() is None:  # torchrun and srun end their processes themselves
        threading.Thread(target=_end_with, args=(int(os.environ[LAUNCHER]),), daemon=True).start()


def _end_with(process: int) -> None:
    while os.getppid() == process:
        time.sleep(0.2)
    os._exit(1)


def survives_grace_period() -> bool:
    """Wait `GRACE` seconds, and return whether this process is still wanted: neither ended, nor orphaned.

    It must not end before the first, which torchrun would end in turn, perhaps before it has told why.
    """
    time.sleep(GRACE)
    return os.getppid() == PARENT
