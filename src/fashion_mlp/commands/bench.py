"""`fashion-mlp bench`."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from fashion_mlp import benchmark
from fashion_mlp.commands.options import chosen_device, progress, say, say_json
from fashion_mlp.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    """Time four ways to train the same network: alternating in this process, then each alone for its start."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    task = benchmark.Task(
        hidden_sizes=tuple(arguments.hidden_sizes),
        optimizer=arguments.optimizer,
        batch_size=arguments.batch_size,
        device=chosen_device(arguments.device).type,
    )
    benchmark.verify_data(task)
    benchmark.bare_loop(task)  # warms up the arithmetic
    seconds: dict[str, list[float]] = {name: [] for name in benchmark.WAYS}
    for _ in progress(range(arguments.rounds), "rounds"):
        for name, way in benchmark.WAYS.items():
            timing = way(task)
            seconds[name].append(benchmark.TRAIN_SIZE / timing.samples * timing.seconds)
    rows = [_row(name, seconds, _alone(name, task, arguments.threads)) for name in benchmark.WAYS]
    facts = {
        "task": asdict(task),
        "rounds": arguments.rounds,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "torch": torch.__version__,
        "ways": rows,
    }
    if arguments.json:
        say_json(facts)
    else:
        _print_table(facts)
    return 0


def _row(name: str, seconds: dict[str, list[float]], alone: dict[str, float]) -> dict[str, Any]:
    def ratio(other: str) -> float:
        return median(mine / theirs for mine, theirs in zip(seconds[name], seconds[other], strict=True))

    return {
        "name": name,
        "seconds": median(seconds[name]),
        "samples_per_second": benchmark.TRAIN_SIZE / median(seconds[name]),
        "time_over_tutorial_loop": ratio("tutorial loop"),
        "time_over_bare_loop": ratio("bare loop"),
        **alone,
    }


def _alone(name: str, task: benchmark.Task, threads: int | None) -> dict[str, float]:
    """Train an epoch in a process of its own: the seconds until training begins, and the peak memory."""
    command = [sys.executable, "-m", "fashion_mlp.benchmark", name, json.dumps(asdict(task))]
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
    say(f"{sizes}, {task['optimizer']}, batch {task['batch_size']}, {task['device']}, {facts['threads']} threads")
    say(f"{facts['machine']}, torch {facts['torch']}; an epoch of 60,000 images, median of {facts['rounds']} rounds\n")
    header = f"{'':<16}{'seconds':>9}{'samples/s':>11}{'x tutorial':>12}{'x bare':>8}{'start-up':>10}{'memory':>10}"
    say(header)
    for row in facts["ways"]:
        say(
            f"{row['name']:<16}{row['seconds']:>9.2f}{row['samples_per_second']:>11,.0f}"
            f"{row['time_over_tutorial_loop']:>12.2f}{row['time_over_bare_loop']:>8.2f}"
            f"{row['start_up_seconds']:>8.1f} s{row['peak_memory_bytes'] / 2**20:>6.0f} MiB"
        )
