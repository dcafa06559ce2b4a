"""Kill a run at random moments with SIGKILL, resume it until it is done, and compare it with one that was left alone.

    python tests/kill_and_resume.py --kills 20

Everything is compared to the last bit: weights, optimizer, schedule, metrics, the points of the charts. Each attempt is
the whole command, `python train.py ...`, in a process of its own; it is forked from one that has imported torch, so
that most moments lie in the run and not before it.
"""

import argparse
import json
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fashion_mlp import training  # noqa: F401, for the forked processes
from fashion_mlp.data import SyntheticDataModule

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
TRAIN_SIZE, TEST_SIZE = 2200, 200
COMMON = (
    "data=synthetic",
    f"data.train_size={TRAIN_SIZE}",
    f"data.test_size={TEST_SIZE}",
    "data.val_size=200",
    "data.batch_size=20",
    "model.hidden_sizes=[32]",
    "trainer=cpu",
    "trainer.log_every_n_steps=7",
    "steps_per_execution=8",
    "checkpoint.every_n_steps=16",
    "callbacks=lean",
)
CONFIGURATIONS = {
    "dropout, augmentation, one-cycle, EMA": (
        "model.dropout=0.3",
        "model.norm=batch",
        "data.augment.flip=0.5",
        "data.augment.shift=1",
        "data.augment.erasing=0.3",
        "data.augment.mixup=0.2",
        "data.augment.off_last=0.2",
        "scheduler=onecycle",
        "callbacks.ema.decay=0.99",
        "trainer.max_epochs=3",
    ),
    "workers": ("data.num_workers=2", "model.dropout=0.1", "scheduler=cosine", "trainer.max_epochs=3"),
    "RMSprop, plateau": (
        "optimizer=rmsprop",
        "optimizer.lr=0.02",
        "scheduler=plateau",
        "scheduler.patience=0",
        "trainer.gradient_clip_val=1.0",  # one step a call
        "trainer.max_epochs=4",
    ),
}
UNLIKE = ("seconds", "samples_per_second", "overrides")
"""What may differ between two runs of the same command."""


def start(folder: Path, *arguments: str) -> int:
    """Begin `python train.py` with some arguments in a process of its own, and return its number."""
    process = os.fork()
    if process == 0:
        os.setsid()
        output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        sys.argv = [str(TRAIN), *arguments]
        status = 1
        try:
            runpy.run_path(str(TRAIN), run_name="__main__")
            status = 0
        finally:
            os._exit(status)
    return process


def ended(process: int, seconds: float | None) -> bool:
    """Wait for the end of a process, at most some seconds, after which it is killed; return whether it came by itself.

    Raises:
        RuntimeError: the process has failed.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while deadline is None or time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"exit status {os.waitstatus_to_exitcode(status)}")
            return True
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return False


def outcome(run: Path) -> dict[str, Any]:
    """Return everything of a run that is to be the same."""
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    charts = EventAccumulator(str(run), {"scalars": 0}).Reload()
    metrics = json.loads((run / "metrics.json").read_text())
    return {
        "weights": state["state_dict"],
        "trained_weights": state["callbacks"].get("ExponentialMovingAverage", {}),
        "optimizer": state["optimizer_states"],
        "schedule": state["lr_schedulers"],
        "metrics": {name: value for name, value in metrics.items() if name not in UNLIKE},
        "charts": {
            # TensorBoard reads the files of one second in the order of their names.
            tag: sorted((event.step, event.value) for event in charts.Scalars(tag))
            for tag in charts.Tags()["scalars"]
            if tag not in UNLIKE
        },
    }


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Return where two nested values differ, by a bit or more."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [place]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for index, pair in pairs for found in differences(*pair, f"{place}/{index}")]
    return [] if one == other else [f"{place}: {one} and {other}"]


def tried(name: str, folder: Path, kills: int, moments: random.Random) -> str:
    """Run a configuration with and without being killed, and return what came of it in one line.

    A moment is anywhere in the length of the run that is left alone. Where a killed run comes to its end before enough
    were killed, another one is begun.

    Raises:
        RuntimeError: the runs differ, or one has failed.
    """
    command = (*COMMON, *CONFIGURATIONS[name], f"data.root={folder.parent / 'data'}")
    began = time.monotonic()
    ended(start(folder, *command, "hydra.run.dir=whole"), None)
    length = time.monotonic() - began

    killed: list[int] = []
    runs = 0
    while len(killed) < kills:
        runs += 1
        run = folder / f"killed{runs}"
        arguments = (*command, f"hydra.run.dir={run.name}")
        while not ended(start(folder, *arguments), moments.uniform(0, length) if len(killed) < kills else None):
            last = run / "checkpoints/last.ckpt"
            killed.append(torch.load(last, weights_only=True)["global_step"] if last.is_file() else 0)
            if (run / ".hydra/overrides.yaml").is_file():  # else it was killed before it began
                arguments = (f"resume={run.name}",)
        problems = differences(outcome(folder / "whole"), outcome(run))
        if problems:
            raise RuntimeError("\n".join([f"{name}: the runs differ", *problems[:20]]))
    steps = ", ".join(map(str, killed))
    return f"{name}: {len(killed)} kills in {runs} runs, resumed from steps {steps}: equal to the last bit"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each configuration")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        SyntheticDataModule(root=f"{folder}/data", train_size=TRAIN_SIZE, test_size=TEST_SIZE).prepare_data()
        for index, name in enumerate(CONFIGURATIONS):
            place = Path(folder) / str(index)
            place.mkdir()
            try:
                print(tried(name, place, arguments.kills, moments), flush=True)  # noqa: T201
            except RuntimeError as error:
                output = place / "output.txt"
                sys.exit(f"{output.read_text()}\n{error}" if output.is_file() else str(error))


if __name__ == "__main__":
    main()
