"""The processes of a distributed run, one per device: the rank of this one and the program that started it.

Lightning starts the processes of one machine itself; torchrun and SLURM's srun start those of one or several machines.
All processes have the same command line. Only rank zero writes to the run directory and to the terminal.
"""

import os
import signal
import threading
import time
from typing import NamedTuple

PARENT = os.getppid()
# Environment variable with the process of a run, for the other ranks, which Lightning starts; or of a sweep, for jobs.
END_WITH_PARENT = "FASHION_MLP_END_WITH_PARENT"
# Seconds in which torchrun or srun ends the other ranks after rank zero has failed.
GRACE = 15.0


class Cluster(NamedTuple):
    """A program that started the processes of this run, their number on each machine, and the number of machines."""

    program: str
    devices: int
    nodes: int


def is_rank_zero() -> bool:
    """Return whether this is the first process of the run."""
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    # Only NODE_RANK differs if the user starts Lightning on each machine.
    return all(int(os.environ.get(name, 0)) == 0 for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def detect_cluster() -> Cluster | None:
    """Return the program that started the processes of this run; None if Lightning starts them."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return Cluster("torchrun", devices, int(os.environ["WORLD_SIZE"]) // devices)
    if "SLURM_NTASKS" in os.environ and _is_in_slurm_step():
        nodes = int(os.environ.get("SLURM_NNODES", 1))
        return Cluster("srun", int(os.environ["SLURM_NTASKS"]) // nodes, nodes)
    return None


def ignore_slurm_allocation() -> None:
    """Let Lightning start the processes in a SLURM allocation without srun, where it would wait for srun's."""
    if "SLURM_NTASKS" in os.environ and not _is_in_slurm_step():
        os.environ["SLURM_JOB_NAME"] = "interactive"  # Lightning takes this for a shell


def _is_in_slurm_step() -> bool:
    """Return whether srun started this process, rather than a shell in an allocation."""
    is_shell = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return not is_shell and ("SLURM_STEP_ID" in os.environ or "SLURM_STEPID" in os.environ)


def end_with_parent() -> None:
    """End this process when the rank zero or the sweep that started it has ended in any way.

    Until the processes of a run have connected, the others would wait for rank zero for half an hour.
    """
    if END_WITH_PARENT in os.environ:
        if PARENT == 1 and os.environ[END_WITH_PARENT] != "1":  # it ended before this process could look
            os._exit(1)
        threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ[END_WITH_PARENT] = str(os.getpid())


def _end_with_parent() -> None:
    while os.getppid() == PARENT:
        time.sleep(0.2)
    if is_rank_zero():
        os.kill(os.getpid(), signal.SIGTERM)  # a job, which saves its state
    else:
        os._exit(1)


def survives_grace_period() -> bool:
    """Wait `GRACE` seconds, and return whether the process that started this one is still running.

    If a failed process ended at once, torchrun would end rank zero too, perhaps before that has printed the error.
    """
    time.sleep(GRACE)
    return os.getppid() == PARENT
