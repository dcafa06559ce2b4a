"""Kill runs at random moments, resume them until they are complete, and compare each with an uninterrupted run.

    python tests/kill_and_resume.py --kills 20                       # three configurations
    python tests/kill_and_resume.py --draw 20 --kills 5              # 20 configurations that are drawn at random
    python tests/kill_and_resume.py --overrides optimizer=sgd trainer.max_steps=450

Everything is compared to the last bit: checkpoints with weights, optimizer, schedules, random numbers and the state of
callbacks; metrics; TensorBoard's scalars and images; the table of the CSV logger; pictures. Each attempt is the whole
command, `python train.py ...`, in a process of its own. It is forked from one that has imported torch, so that most
kills happen in the run and not before it. Most kills are SIGKILL, some SIGTERM or SIGINT; some runs are moved before
they are resumed. The same seed draws the same configurations, signals and moments.
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
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fashion_mlp import training  # noqa: F401, training for the forked processes
from fashion_mlp.config.compose import initialize_hydra
from fashion_mlp.config.explain import explain
from fashion_mlp.data import SyntheticDataModule

ROOT = Path(__file__).resolve().parents[1]
TRAIN = str(ROOT / "train.py")
TRAIN_SIZE, TEST_SIZE = 4200, 200
COMMON = (
    "data=synthetic",
    f"data.train_size={TRAIN_SIZE}",
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
    "model.dropout=0.3 model.norm=batch data.augment.flip=0.5 data.augment.shift=1 data.augment.erasing=0.3 "
    "data.augment.mixup=0.2 data.augment.off_last=0.2 scheduler=onecycle callbacks.ema.decay=0.99",
    "data.num_workers=2 model.dropout=0.1 scheduler=cosine",
    # With clipping, a call of training_step is one step.
    "optimizer=rmsprop optimizer.lr=0.02 scheduler=plateau scheduler.patience=0 trainer.gradient_clip_val=1.0",
)
SPACE = (ROOT / "tests/configurations.txt").read_text().strip().split("\n\n")
"""Paragraphs, of each of which a line is drawn; what the command line refuses together is drawn again."""
UNLIKE = (
    "current_score",
    "epoch_seconds",
    "log_sizes",
    "overrides",
    "samples_per_second",
    "seconds",
    "validation_seconds",
)
"""What may differ between two runs of the same command: sizes of files, what Lightning does not restore, times."""


def draw(chance: random.Random) -> str:
    """Return the overrides of a configuration that the command line accepts."""
    while True:
        lines = [chance.choice(lines.splitlines()) for lines in SPACE]
        drawn = " ".join(lines).replace("LIGHTNING", "lightning.pytorch.callbacks")
        with initialize_hydra():
            if not explain([*COMMON, *drawn.split()]):
                return drawn


def start(folder: Path, *arguments: str) -> multiprocessing.process.BaseProcess:
    """Start `python train.py` with some arguments in a process of its own, whose output goes to `output.txt`."""

    def run() -> None:
        output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        sys.argv = [TRAIN, *arguments]
        runpy.run_path(TRAIN, run_name="__main__")

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def finish(process: multiprocessing.process.BaseProcess, seconds: float | None, signum: int) -> bool:
    """Wait for a process, which after some seconds gets a signal, and return whether it ended by itself.

    Raises:
        RuntimeError: its exit status is neither 0 nor that of the signal.
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
    """Return all results of a run that must be the same."""
    charts = EventAccumulator(str(run), {"scalars": 0, "images": 0}).Reload()
    tags = charts.Tags()
    scalars = [(tag, event.step, event.value) for tag in tags["scalars"] for event in charts.Scalars(tag)]
    images = [(tag, event.step, event.encoded_image_string) for tag in tags["images"] for event in charts.Images(tag)]
    results = {
        "checkpoints": {
            path.name: torch.load(path, weights_only=True)
            for path in run.rglob("*.ckpt")
            if path.name != "previous.ckpt"  # that of a kill, if the run was resumed from the last epoch
        },
        "metrics": json.loads((run / "metrics.json").read_text()),
        # TensorBoard reads the files of one second in the order of their names.
        "scalars": sorted(point for point in scalars if point[0] not in UNLIKE),
        "images": sorted(images),
        "pictures": {path.name: path.read_bytes() for path in run.glob("*.png")},
        "table": [list(csv.DictReader(path.read_text().splitlines())) for path in run.glob("csv/metrics.csv")],
    }
    return _comparable(results)  # type: ignore[no-any-return]


def _comparable(value: Any) -> Any:
    """Leave out what may differ, and the folders of files, since a run may have moved."""
    if isinstance(value, dict):
        return {_comparable(key): _comparable(value[key]) for key in value if not _may_differ(key)}
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _may_differ(key: Any) -> bool:
    # Lightning resets these counters at the start of an epoch, which a resumed epoch does not have; they are not read.
    return key in UNLIKE or str(key).endswith(("optim_progress", "scheduler_progress", "val_loop.batch_progress"))


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Return where two nested values differ, by a bit or more."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [place]
    if isinstance(one, dict) and isinstance(other, dict):
        lone = [f"{place}/{key}: is in one only" for key in one.keys() ^ other.keys()]
        both = one.keys() & other.keys()
        return lone + [found for key in both for found in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for index, pair in pairs for found in differences(*pair, f"{place}/{index}")]
    return [] if one == other else [f"{place}: {one} and {other}"[:300]]


def kill_and_resume(overrides: Sequence[str], folder: Path, kills: int, chance: random.Random) -> str:
    """Run a configuration with and without kills, and return in one line how it was killed.

    A kill happens at any moment in the length of the uninterrupted run, more often late than early, where training has
    not started. Where a killed run is complete before all kills happened, another one is started.

    Raises:
        RuntimeError: the runs differ, or one has failed.
    """
    command = (*COMMON, f"data.root={folder.parent / 'data'}", *overrides)
    began = time.monotonic()
    finish(start(folder, *command, "hydra.run.dir=whole"), None, 0)
    length = time.monotonic() - began

    killed: list[str] = []
    runs = 0
    while len(killed) < kills:
        runs += 1
        run = folder / f"killed{runs}"
        arguments = (*command, f"hydra.run.dir={run.name}")
        began, before = time.monotonic(), len(killed)
        while True:
            signum = chance.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (3, 1, 1))[0]
            seconds = chance.triangular(0, length, length) if len(killed) < kills else None
            if finish(start(folder, *arguments), seconds, signum):
                break
            last = run / "checkpoints/last.ckpt"
            step = torch.load(last, weights_only=True)["global_step"] if last.is_file() else 0
            killed.append(f"{signum.name.removeprefix('SIG')} {step}")
            if (run / ".hydra/overrides.yaml").is_file():  # else it was killed before it began
                if chance.random() < 0.3:
                    run = run.rename(f"{run}-moved{len(killed)}")
                arguments = (f"resume={run.name}",)
        if len(killed) == before:
            length = time.monotonic() - began  # the machine has become faster
        problems = differences(outcome(folder / "whole"), outcome(run))
        if problems:
            raise RuntimeError("\n".join([f"killed: {', '.join(killed)}", *problems[:20]]))
    return f"{len(killed)} kills in {runs} runs ({', '.join(killed)}): equal to the last bit"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each configuration")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="draw N configurations")
    parser.add_argument("--overrides", nargs="+", default=[], help="of one configuration, instead of the three")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)  # noqa: T201
    given = [" ".join(arguments.overrides)] if arguments.overrides else CONFIGURATIONS
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        SyntheticDataModule(root=f"{temporary}/data", train_size=TRAIN_SIZE, test_size=TEST_SIZE).prepare_data()
        for index in range(arguments.draw or len(given)):
            chance = random.Random(f"{arguments.seed} {index}")
            overrides = draw(chance) if arguments.draw else given[index]
            folder = Path(temporary, str(index))
            folder.mkdir()
            try:
                line = kill_and_resume(overrides.split(), folder, arguments.kills, chance)
            except (RuntimeError, OSError) as error:
                failures += 1
                output = (folder / "output.txt").read_text().splitlines()[-20:]
                line = "\n".join(["DIFFERENT OR FAILED", *output, str(error)])
            print(f"{index}  {overrides}\n   {line}", flush=True)  # noqa: T201
    sys.exit(f"{failures} failed" if failures else 0)


if __name__ == "__main__":
    main()
