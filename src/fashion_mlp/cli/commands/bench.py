"""Compare the speed of ways to train the same network."""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import product
from statistics import mean, median
from typing import Any

from fashion_mlp.cli.arguments import add_shared, positive
from fashion_mlp.cli.output import echo, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp bench`."""
    add_shared(parser, "--device")
    parser.add_argument("--hidden-sizes", type=positive, nargs="*", default=[256, 128], metavar="N", help="(256 128)")
    parser.add_argument("--batch-size", type=positive, default=64, metavar="N", help="(default: 64)")
    parser.add_argument("--busy", action="store_true", help="compare one run with two at once")
    parser.add_argument("--peers", action="store_true", help="add scikit-learn and JAX; extra [peers]")
    parser.add_argument("--rounds", type=positive, default=3, metavar="N", help="(default: 3)")


def run(arguments: argparse.Namespace) -> None:
    """Run `fashion-mlp bench`."""
    from fashion_mlp.runtime.errors import UserError
    from fashion_mlp.runtime.failures import importing_torch

    with importing_torch():
        import torch

        from fashion_mlp.cli.bench_runs import CUDA_METHODS, METHODS, PEERS
        from fashion_mlp.data import FashionMNISTDataModule
        from fashion_mlp.inference.load import resolve_device

    if arguments.peers and not all(map(find_spec, ("sklearn", "jax", "optax"))):
        raise UserError("--peers: needs scikit-learn, JAX and Optax. Type python -m pip install -e '.[peers]'")
    device = resolve_device(arguments.device).type
    task = {"hidden_sizes": arguments.hidden_sizes, "batch_size": arguments.batch_size, "device": device}
    FashionMNISTDataModule().prepare_data()
    sizes = "-".join(map(str, (784, *arguments.hidden_sizes, 10)))
    echo(f"{sizes}, batch {arguments.batch_size}, {device}, {torch.get_num_threads()} threads")
    echo(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}")
    echo(f"an epoch of 60,000 images, median of {arguments.rounds} rounds\n")
    rounds = progress(range(arguments.rounds), "rounds")
    if arguments.busy:
        _compare_busy(task, rounds)
    else:
        names = [*METHODS, *(CUDA_METHODS if device == "cuda" else ()), *(PEERS if arguments.peers else ())]
        _compare_methods(names, task, rounds)


def _compare_methods(names: Sequence[str], task: Mapping[str, Any], rounds: Iterable[int]) -> None:
    """Print the seconds, start-up and memory of each method; they take turns in each round."""
    timings = [{name: _measure(name, task) for name in names} for _ in rounds]
    echo(f"{'':<16}{'seconds':>9}{'x bare':>8}{'start-up':>10}{'memory':>10}")
    bare = median(row["bare loop"][0] for row in timings)
    for name in names:
        seconds, start_up, memory = (median(values) for values in zip(*(row[name] for row in timings), strict=True))
        echo(f"{name:<16}{seconds:>9.2f}{seconds / bare:>8.2f}{start_up:>8.1f} s{memory / 2**20:>6.0f} MiB")


def _compare_busy(task: Mapping[str, Any], rounds: Iterable[int]) -> None:
    """Print the seconds of one run and of two at once, for the bare loop and for this project."""
    names = ("bare loop", "this project")
    seconds: dict[tuple[str, int], list[float]] = {}
    with ThreadPoolExecutor() as executor:
        for _, name, count in product(rounds, names, (1, 2)):
            runs = [executor.submit(_measure, name, task) for _ in range(count)]
            seconds.setdefault((name, count), []).append(mean(run.result()[0] for run in runs))
    echo(f"{'':<16}{'alone':>9}{'two at once, each':>19}{'ratio':>8}")
    for name in names:
        alone, busy = (median(seconds[name, count]) for count in (1, 2))
        echo(f"{name:<16}{alone:>9.2f}{busy:>19.2f}{busy / alone:>8.2f}")


def _measure(name: str, task: Mapping[str, Any]) -> tuple[float, float, float]:
    """Train in a new process; return its seconds for 60,000 images, its start-up seconds and its peak memory in bytes.

    Args:
        name: the name of the method.
        task: its arguments.

    Raises:
        UserError: the process failed.
    """
    from fashion_mlp.runtime.errors import UserError

    code = f"from fashion_mlp.cli.bench_runs import main; main({name!r}, **{task!r})"
    begin = time.time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"bench: {name} failed: {done.stderr.strip().splitlines()[-1]}")
    seconds, start, peak_memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, start - begin, peak_memory
