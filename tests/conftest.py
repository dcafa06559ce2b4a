"""Fixtures and helpers that compose small configurations, run `train.py`, and read the results of a run."""

import gc
import json
import os
import pickle
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from importlib.metadata import entry_points
from itertools import takewhile
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fashion_mlp.config.check_command_line import check_overrides
from fashion_mlp.config.command_line import initialize_hydra, parse_flags
from fashion_mlp.runtime.console import restore_logging
from fashion_mlp.runtime.ranks import END_WITH_PARENT
from fashion_mlp.runtime.signals import SIGNALS
from tests import composition_cache

if TYPE_CHECKING:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# torch reads this when it is loaded. With several threads on a busy machine, small steps wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
# Python would destroy each module and object at exit, which takes seconds. A worker has sent all results by then, and
# this is the last of multiprocessing's exit functions, which end processes and remove temporary files.
if "PYTEST_XDIST_WORKER" in os.environ:
    Finalize(None, os._exit, args=(0,), exitpriority=-1000)

# While modules are imported, collections would find no garbage, and take a third of the time.
gc.disable()

# torch, TensorBoard and Hypothesis are imported where they are used, since the process that starts pytest's workers
# does not need them.

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"

# Overrides of a run that takes less than a second: 500 images for training, 100 for validation, 200 for a test.
SMALL = (
    "data=synthetic",
    "data.train_size=600",
    "data.test_size=200",
    "data.val_size=100",
    "data.batch_size=50",
    "model.hidden_sizes=[32]",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "callbacks=lean",
    "logger=none",
    "test=false",
)
# What `SMALL` leaves out of a default run.
LOGGED_AND_TESTED = ("logger=tensorboard", "test=true")

COMPOSED: dict[tuple[str, ...], bytes] = {}
Compose = Callable[..., DictConfig]
RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]


class Run:
    """The directory of a run, with its results."""

    def __init__(self, run_dir: Path | str) -> None:
        self.dir = Path(run_dir)

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the content of `metrics.json`."""
        metrics: dict[str, Any] = json.loads((self.dir / "metrics.json").read_text())
        return metrics

    def checkpoint_path(self, name: str) -> Path:
        """Return the path of `checkpoints/NAME.ckpt`."""
        return self.dir / "checkpoints" / f"{name}.ckpt"

    def checkpoint(self, name: str) -> dict[str, Any]:
        """Return the content of `checkpoints/NAME.ckpt`."""
        import torch

        content: dict[str, Any] = torch.load(self.checkpoint_path(name), weights_only=True)
        return content

    @cached_property
    def events(self) -> "EventAccumulator":
        """Return the events that TensorBoard reads, with all images; they are read once."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        return EventAccumulator(str(self.dir), {"images": 0}).Reload()

    def scalars(self, tag: str) -> list[tuple[int, float]]:
        """Return the step and value of each point of a TensorBoard chart."""
        return [(event.step, event.value) for event in self.events.Scalars(tag)]


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Check the file in `os.fsync`, without waiting for the disk; no test of this process cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session", autouse=True)
def _read_entry_points_once() -> Iterator[None]:
    """Keep the entry points of installed packages, which each Trainer reads to find callbacks."""
    with pytest.MonkeyPatch.context() as patch:
        # The tests of other versions of Python run without Lightning.
        if registry := sys.modules.get("lightning.fabric.utilities.registry"):
            patch.setattr(registry, "entry_points", cache(entry_points))
        yield


@pytest.fixture(scope="session", autouse=True)
def _compose_from_cache() -> Iterator[None]:
    """Keep what Hydra reads in `conf/` for all tests of a process."""
    with pytest.MonkeyPatch.context() as patch:
        composition_cache.install(patch)
        yield


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the synthetic data, which all tests share."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def compose_small(tmp_path: Path, data_root: Path) -> Compose:
    """Return a function that composes a small run in a directory `name`: `compose_small(name, *overrides)`."""

    def compose_in(name: str, *overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(
                "train", overrides=[*SMALL, f"data.root={data_root}", f"run_dir={tmp_path / name}", *overrides]
            )

    return compose_in


@pytest.fixture
def compose_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose each choice of options once for all tests, since this takes nine tenths of the time of a check."""

    def cached_compose(name: str, overrides: Sequence[str], *, return_hydra_config: bool) -> DictConfig:
        key = (name, *overrides)
        if key not in COMPOSED:
            cfg = compose(name, overrides=list(overrides), return_hydra_config=return_hydra_config)
            COMPOSED[key] = pickle.dumps(cfg)
        cfg = pickle.loads(COMPOSED[key])  # faster than a deep copy
        assert isinstance(cfg, DictConfig)
        return cfg

    monkeypatch.setattr("fashion_mlp.config.check_command_line.compose", cached_compose)


def check(argv: Sequence[str]) -> DictConfig | None:
    """Check a command line as `train.py` does, without running it.

    Returns:
        The configuration of a single run; None for a sweep.

    Raises:
        UserError: the command line is invalid.
    """
    args = parse_flags(argv)
    with initialize_hydra(args.config_path, args.config_dir):
        check_overrides(args.overrides, multirun=args.multirun)
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        if args.multirun or hydra.get_mode("train", args.overrides) == RunMode.MULTIRUN:
            return None
        return compose("train", overrides=args.overrides, return_hydra_config=True)


@pytest.fixture
def run_in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCommand:
    """Return a function that runs `python train.py` in this process, which saves the time of the imports."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        argv = [str(ROOT / "train.py"), *arguments]
        monkeypatch.setattr("sys.argv", list(argv))
        monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # restored after the test, also if train.py sets it
        capsys.readouterr()
        signal_handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
        try:
            with restore_logging():
                runpy.run_path(argv[0], run_name="__main__")
            status = 0
        except SystemExit as error:
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)  # noqa: T201, like the interpreter
            status = error.code if isinstance(error.code, int) else 1
        finally:  # restore what Hydra and train.py change for the whole process
            for signum, signal_handler in signal_handlers.items():
                signal.signal(signum, signal_handler)
            HydraConfig.instance().cfg = None
            os.environ.pop(END_WITH_PARENT, None)
        return subprocess.CompletedProcess(argv, status, *capsys.readouterr())

    return run


@pytest.fixture
def run_small(run_in_process: RunCommand, data_root: Path) -> RunCommand:
    """Return a function that runs `python train.py` with the overrides `SMALL` in this process."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        # Hydra accepts flags before or after the overrides, but not between them.
        flags = list(takewhile(lambda argument: "=" not in argument, arguments))
        return run_in_process(*flags, *SMALL, f"data.root={data_root}", *arguments[len(flags) :])

    return run


@pytest.fixture
def run_in_new_process(tmp_path: Path) -> RunCommand:
    """Return a function that runs `python train.py` in a new process and an empty directory."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if name != "FASHION_MLP_DATA"} | variables
        command = [sys.executable, str(ROOT / "train.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(autouse=True)
def _hide_real_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a test that names no directory from writing to that of the real data."""
    if "real_data" not in request.fixturenames:
        monkeypatch.delenv("FASHION_MLP_DATA", raising=False)


@pytest.fixture
def real_data() -> Path:
    """Return the root of the real Fashion-MNIST data set, or skip the test."""
    root = os.environ.get("FASHION_MLP_DATA")
    if not root:
        pytest.skip("FASHION_MLP_DATA does not name a directory with the real Fashion-MNIST")
    return Path(root)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register two profiles of Hypothesis: the default draws the same examples in every run, `search` other ones."""
    if config.option.numprocesses and not config.option.hypothesis_profile:
        return  # only the workers run tests
    from hypothesis import HealthCheck, settings

    checks = list(HealthCheck)
    settings.register_profile(
        "steady", max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=checks
    )
    settings.register_profile("search", settings.get_profile("steady"), max_examples=5000, derandomize=False)
    settings.load_profile("steady")


def pytest_collection_finish() -> None:
    """Exclude all that was imported from garbage collection, since it exists until the end."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite the changed answers in tests/config/error_messages")
