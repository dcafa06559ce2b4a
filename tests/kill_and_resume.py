"""Kill runs at random moments, resume them until they are complete, and compare each with an uninterrupted run.

    python tests/kill_and_resume.py --kills 20                       # three configurations
    python tests/kill_and_resume.py --draw 20 --kills 5              # 20 random configurations
    python tests/kill_and_resume.py --overrides optimizer=sgd trainer.max_steps=450

The comparison is exact: checkpoints with weights, optimizer state, schedules, random-number state and the state of
callbacks; metrics; TensorBoard's scalars and images; the table of the CSV logger; figures. Each attempt runs
`python train.py ...` in a new process, which is forked from one that has imported torch, so that most kills happen
during training. Most signals are SIGKILL, some are SIGTERM or SIGINT, and some runs are moved before they are resumed.
A seed determines the configurations, signals and moments.
"""

import argparse
import csv
import json
import multiprocessing
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fashion_mlp import training  # noqa: F401, imports torch for the forked processes
from fashion_mlp.config.check_command_line import check_overrides
from fashion_mlp.config.command_line import initialize_hydra
from fashion_mlp.data import SyntheticDataModule
from fashion_mlp.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
TRAIN = str(ROOT / "train.py")
TEST_SIZE = 200
COMMON = (
    "data=synthetic",
    f"data.test_size={TEST_SIZE}",
    "data.val_size=200",
    "data.batch_size=20",
    "model.hidden_sizes=[32]",
    "trainer=cpu",
    "trainer.log_every_n_steps=7",
    "trainer.max_epochs=3",
    "steps_per_execution=8",
    "checkpoint.every_n_steps=16",
    "callbacks=lean",
)
CONFIGURATIONS = (
    "model.dropout=0.3 model.norm=batch data.augment.hflip=0.5 data.augment.translate=1 data.augment.erasing=0.3 "
    "data.augment.mixup=0.2 data.augment.off_fraction=0.2 scheduler=onecycle callbacks.ema.decay=0.99",
    "data.num_workers=2 model.dropout=0.1 scheduler=cosine",
    # With gradient clipping, a call of training_step runs one optimizer step.
    "optimizer=rmsprop optimizer.lr=0.02 scheduler=plateau scheduler.patience=0 trainer.gradient_clip_val=1.0",
)
# A random configuration has one line of each paragraph.
SPACE = (ROOT / "tests/configurations.txt").read_text().strip().split("\n\n")
# Keys and tags that differ between two runs of the same command: times, file sizes, and state that Lightning does not
# restore.
NOT_COMPARED = ("current_score", "epoch_start", "log_sizes", "overrides", "samples_per_second", "seconds")


def draw(rng: random.Random) -> str:
    """Return the overrides of a random configuration that the command line accepts."""
    while True:
        lines = [rng.choice(paragraph.splitlines()) for paragraph in SPACE]
        overrides = " ".join(lines).replace("LIGHTNING", "lightning.pytorch.callbacks")
        with initialize_hydra(), suppress(UserError):
            check_overrides([*COMMON, *overrides.split()])
            return overrides


def start(directory: Path, *arguments: str) -> multiprocessing.process.BaseProcess:
    """Start `python train.py` in a directory and a new process, and append its output to `output.txt`."""

    def run() -> None:
        output = os.open(directory / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(directory)
        sys.argv = [TRAIN, *arguments]
        runpy.run_path(TRAIN, run_name="__main__")

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def finish(process: multiprocessing.process.BaseProcess, seconds: float | None, signum: int) -> bool:
    """Wait for a process, and send it a signal if it still runs after some seconds.

    Returns:
        Whether the process ended without the signal.

    Raises:
        RuntimeError: the exit status is neither 0 nor that of the signal.
    """
    process.join(seconds)
    is_killed = process.is_alive()
    if is_killed:
        os.kill(process.ident or 0, signum)
        process.join()
    if process.exitcode not in ((0, -signum, 128 + signum) if is_killed else (0,)):
        raise RuntimeError(f"exit status {process.exitcode}" + f" after signal {signum}" * is_killed)
    return process.exitcode == 0


def outcome(run: Path) -> dict[str, Any]:
    """Return all results of a run that must be equal."""
    events = EventAccumulator(str(run), {"scalars": 0, "images": 0}).Reload()
    tags = events.Tags()
    scalars = [(tag, event.step, event.value) for tag in tags["scalars"] for event in events.Scalars(tag)]
    images = [(tag, event.step, event.encoded_image_string) for tag in tags["images"] for event in events.Images(tag)]
    results = {
        "checkpoints": {
            path.name: torch.load(path, weights_only=True)
            for path in run.rglob("*.ckpt")
            # After a kill in the last epoch, it is of the moment of the kill.
            if path.name != "previous.ckpt"
        },
        "metrics": json.loads((run / "metrics.json").read_text()),
        # TensorBoard orders event files of the same second by name.
        "scalars": sorted(point for point in scalars if point[0] not in NOT_COMPARED),
        "images": sorted(images),
        "figures": {path.name: path.read_bytes() for path in run.glob("*.png")},
        "table": [list(csv.DictReader(path.read_text().splitlines())) for path in run.glob("csv/metrics.csv")],
    }
    return _comparable(results)  # type: ignore[no-any-return]


def _comparable(value: Any) -> Any:
    """Remove values that may differ, and the directories from absolute paths, since a run may have moved."""
    if isinstance(value, dict):
        return {_comparable(key): _comparable(value[key]) for key in value if not _may_differ(key)}
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _may_differ(key: Any) -> bool:
    # Lightning resets these unused counters at the start of an epoch, which a run that is resumed within it skips.
    return key in NOT_COMPARED or str(key).endswith(("optim_progress", "scheduler_progress", "val_loop.batch_progress"))


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Return the places where two nested values are not exactly equal."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [place]
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{place}/{key}: only in one of them" for key in one.keys() ^ other.keys()]
        common = one.keys() & other.keys()
        return missing + [found for key in common for found in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for index, pair in pairs for found in differences(*pair, f"{place}/{index}")]
    return [] if one == other else [f"{place}: {one} and {other}"[:300]]


def kill_and_resume(overrides: Sequence[str], directory: Path, kills: int, rng: random.Random) -> str:
    """Run a configuration with and without kills.

    The time until a kill is at most that of the uninterrupted run. Late kills are more likely than early ones, since
    training has not started then. If a killed run completes before all kills happened, another run starts.

    Returns:
        A line with the signals and the steps that they interrupted.

    Raises:
        RuntimeError: the results of the runs differ, or a run failed.
    """
    command = (*COMMON, *overrides)
    start_time = time.monotonic()
    finish(start(directory, *command, "hydra.run.dir=whole"), None, 0)
    duration = time.monotonic() - start_time

    killed: list[str] = []
    runs = 0
    while len(killed) < kills:
        runs += 1
        run = directory / f"killed{runs}"
        arguments = (*command, f"hydra.run.dir={run.name}")
        start_time, kills_before = time.monotonic(), len(killed)
        while True:
            signum = rng.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (3, 1, 1))[0]
            seconds = rng.triangular(0, duration, duration) if len(killed) < kills else None
            if finish(start(directory, *arguments), seconds, signum):
                break
            last = run / "checkpoints/last.ckpt"
            step = torch.load(last, weights_only=True)["global_step"] if last.is_file() else 0
            killed.append(f"{signum.name.removeprefix('SIG')} {step}")
            if (run / ".hydra/overrides.yaml").is_file():  # otherwise the run was killed before it started
                if rng.random() < 0.3:
                    run = run.rename(f"{run}-moved{len(killed)}")
                arguments = (f"resume={run.name}",)
        if len(killed) == kills_before:
            duration = time.monotonic() - start_time  # the run was faster than the uninterrupted one
        problems = differences(outcome(directory / "whole"), outcome(run))
        if problems:
            raise RuntimeError("\n".join([f"killed: {', '.join(killed)}", *problems[:20]]))
    return f"{len(killed)} kills in {runs} runs ({', '.join(killed)}): exactly equal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="number of kills of each configuration")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="run N random configurations")
    parser.add_argument("--overrides", nargs="+", default=[], help="one configuration, instead of the three")
    parser.add_argument("--train-size", type=int, default=4200, help="number of images for training and validation")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)  # noqa: T201
    configurations = [" ".join(arguments.overrides)] if arguments.overrides else CONFIGURATIONS
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        data = f"data.root={temporary}/data", f"data.train_size={arguments.train_size}"
        SyntheticDataModule(
            root=f"{temporary}/data", train_size=arguments.train_size, test_size=TEST_SIZE
        ).prepare_data()
        for index in range(arguments.draw or len(configurations)):
            rng = random.Random(f"{arguments.seed} {index}")
            overrides = draw(rng) if arguments.draw else configurations[index]
            directory = Path(temporary, str(index))
            directory.mkdir()
            try:
                line = kill_and_resume([*data, *overrides.split()], directory, arguments.kills, rng)
            except (RuntimeError, OSError) as error:
                failures += 1
                output = (directory / "output.txt").read_text().splitlines()[-20:]
                line = "\n".join(["DIFFERENT OR FAILED", *output, str(error)])
            print(f"{index}  {overrides}\n   {line}", flush=True)  # noqa: T201
    sys.exit(f"{failures} failed" if failures else 0)


if __name__ == "__main__":
    main()
