"""Compare the speed of ways to train the same network."""

import argparse
import json
import platform
import subprocess
import sys
import time
from statistics import median
from typing import Any

from fashion_mlp.cli.arguments import add_shared, positive
from fashion_mlp.cli.output import echo, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp bench`."""
    add_shared(parser, "--device")
    parser.add_argument("--hidden-sizes", type=positive, nargs="*", default=[256, 128], metavar="N", help="(256 128)")
    parser.add_argument("--batch-size", type=positive, default=64, metavar="N", help="(default: 64)")
    parser.add_argument("--rounds", type=positive, default=3, metavar="N", help="(default: 3)")


def run(arguments: argparse.Namespace) -> int:
    """Run `fashion-mlp bench`; return its exit status."""
    import torch

    from fashion_mlp.cli.bench_runs import METHODS
    from fashion_mlp.data import FashionMNISTDataModule
    from fashion_mlp.inference.load import resolve_device

    FashionMNISTDataModule().prepare_data()
    device = resolve_device(arguments.device).type
    task = {"hidden_sizes": arguments.hidden_sizes, "batch_size": arguments.batch_size, "device": device}
    timings = [{name: _measure(name, task) for name in METHODS} for _ in progress(range(arguments.rounds), "rounds")]
    sizes = "-".join(map(str, (784, *arguments.hidden_sizes, 10)))
    echo(f"{sizes}, batch {arguments.batch_size}, {device}, {torch.get_num_threads()} threads")
    echo(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}")
    echo(f"an epoch of 60,000 images, median of {arguments.rounds} rounds\n")
    echo(f"{'':<16}{'seconds':>9}{'x bare':>8}{'start-up':>10}{'memory':>10}")
    for name in METHODS:
        seconds, start_up, memory = (median(values) for values in zip(*(row[name] for row in timings), strict=True))
        ratio = median(row[name][0] / row["bare loop"][0] for row in timings)
        echo(f"{name:<16}{seconds:>9.2f}{ratio:>8.2f}{start_up:>8.1f} s{memory / 2**20:>6.0f} MiB")
    return 0


def _measure(name: str, task: dict[str, Any]) -> tuple[float, float, float]:
    """Train in a new process; return its seconds for 60,000 images, its start-up seconds and its peak memory in bytes.

    Raises:
        UserError: the process failed.
    """
    from fashion_mlp.runtime.errors import UserError

    command = [sys.executable, "-m", "fashion_mlp.cli.bench_runs", name, json.dumps(task)]
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"bench: {name} failed: {done.stderr.strip().splitlines()[-1]}")
    timing = json.loads(done.stdout.splitlines()[-1])
    seconds = 60_000 / timing["samples"] * timing["seconds"]
    return seconds, timing["start"] - start, timing["peak_memory_bytes"]
