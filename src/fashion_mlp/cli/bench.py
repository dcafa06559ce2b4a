"""`fashion-mlp bench`."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from operator import truediv
from statistics import median
from typing import Any

import torch

from fashion_mlp.cli import bench_runs
from fashion_mlp.cli.common import echo, echo_json, progress, resolve_device
from fashion_mlp.data import FashionMNISTDataModule
from fashion_mlp.runtime.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    """Time four ways to train the same network: alternating in this process, then each alone for its start."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    task = bench_runs.Task(
        hidden_sizes=arguments.hidden_sizes,
        optimizer=arguments.optimizer,
        batch_size=arguments.batch_size,
        device=resolve_device(arguments.device).type,
    )
    FashionMNISTDataModule().prepare_data()
    bench_runs.bare_loop(task)  # warms up the arithmetic
    seconds: dict[str, list[float]] = {name: [] for name in bench_runs.METHODS}
    for _ in progress(range(arguments.rounds), "rounds"):
        for name, way in bench_runs.METHODS.items():
            timing = way(task)
            seconds[name].append(bench_runs.TRAIN_SIZE / timing.samples * timing.seconds)
    rows = [
        {
            "name": name,
            "seconds": median(rounds),
            "time_over_bare_loop": median(map(truediv, rounds, seconds["bare loop"])),
            **_alone(name, task, arguments.threads),
        }
        for name, rounds in seconds.items()
    ]
    facts = {
        "task": asdict(task),
        "rounds": arguments.rounds,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "torch": torch.__version__,
        "ways": rows,
    }
    if arguments.json:
        echo_json(facts)
    else:
        _print_table(facts)
    return 0


def _alone(name: str, task: bench_runs.Task, threads: int | None) -> dict[str, float]:
    """Train an epoch in a process of its own: the seconds until training begins, and the peak memory."""
    command = [sys.executable, "-m", "fashion_mlp.cli.bench_runs", name, json.dumps(asdict(task))]
    environment = None if threads is None else {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise UserError(f"bench: {name} failed in a process of its own: {done.stderr.strip().splitlines()[-1]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return {"start_up_seconds": told["began"] - began, "peak_memory_bytes": told["peak_memory"]}


def _print_table(facts: dict[str, Any]) -> None:
    task = facts["task"]
    sizes = "-".join(map(str, (784, *task["hidden_sizes"], 10)))
    echo(f"{sizes}, {task['optimizer']}, batch {task['batch_size']}, {task['device']}, {facts['threads']} threads")
    echo(f"{facts['machine']}, torch {facts['torch']}; an epoch of 60,000 images, median of {facts['rounds']} rounds\n")
    echo(f"{'':<16}{'seconds':>9}{'x bare':>8}{'start-up':>10}{'memory':>10}")
    for row in facts["ways"]:
        echo(
            f"{row['name']:<16}{row['seconds']:>9.2f}{row['time_over_bare_loop']:>8.2f}"
            f"{row['start_up_seconds']:>8.1f} s{row['peak_memory_bytes'] / 2**20:>6.0f} MiB"
        )
