"""Four ways to train the same network, timed side by side.

The tutorial's loop, a bare loop over tensors, a plain LightningModule, and this project. Run as a module, it trains in
one of these ways in a process of its own; so each loads only what it needs, when it needs it.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

TRAIN_SIZE = 60_000
# For tests on a smaller set.
EXTRA_OVERRIDES: tuple[str, ...] = ()
LEARNING_RATES = {"adam": 1e-3, "sgd": 1e-2}


@dataclass(frozen=True)
class Task:
    """What is trained, and where."""

    hidden_sizes: Sequence[int] = (256, 128)
    optimizer: str = "adam"
    batch_size: int = 64
    device: str = "cpu"

    def network(self) -> nn.Sequential:
        """Return the tutorial's network, on the device."""
        sizes = (784, *self.hidden_sizes)
        hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], 10)).to(self.device)

    def optimizer_factory(self, network: nn.Module, *, fused: bool | None = None) -> Optimizer:
        """Return the optimizer, with torch's default settings unless it is to be fused."""
        kind = Adam if self.optimizer == "adam" else SGD
        return kind(network.parameters(), lr=LEARNING_RATES[self.optimizer], fused=fused)

    def images(self) -> FashionMNIST:
        """Return torchvision's training set, as the tutorials load it."""
        return FashionMNIST(os.environ.get("FASHION_MLP_DATA", "data"), train=True, transform=ToTensor())


@dataclass
class Timing:
    """What an epoch took: when it began, on `time.time()`'s clock, its seconds, its training images."""

    began: float
    seconds: float
    samples: int


def tutorial_loop(task: Task) -> Timing:
    """An epoch as PyTorch's Quickstart writes it."""
    loader = DataLoader(task.images(), batch_size=task.batch_size, shuffle=True)
    network, loss_fn = task.network(), nn.CrossEntropyLoss()
    optimizer = task.optimizer_factory(network)
    began = time.time()
    network.train()
    for batch, (images, labels) in enumerate(loader):
        images, labels = images.to(task.device), labels.to(task.device)
        loss = loss_fn(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch % 100 == 0:
            loss.item()
    return Timing(began, time.time() - began, TRAIN_SIZE)


def bare_loop(task: Task) -> Timing:
    """An epoch over tensors in memory, on the device, with a fused optimizer and nothing else."""
    data = task.images()
    images, labels = (data.data.float() / 255).flatten(1).to(task.device), data.targets.to(task.device)
    network = task.network()
    optimizer = task.optimizer_factory(network, fused=True)
    began = time.time()
    for indices in torch.split(torch.randperm(len(labels), device=task.device), task.batch_size):
        loss = cross_entropy(network(images[indices]), labels[indices])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    loss.item()  # waits for the device
    return Timing(began, time.time() - began, TRAIN_SIZE)


def plain_lightning(task: Task) -> Timing:
    """An epoch of a LightningModule as Lightning's introduction writes it, over the tutorial's loader."""
    from lightning import LightningModule, Trainer

    from fashion_mlp.callbacks import Stopwatch
    from fashion_mlp.runtime.console import silence_libraries

    silence_libraries()

    class Plain(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.network()

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            images, labels = batch
            loss = cross_entropy(self.network(images), labels)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Optimizer:
            return task.optimizer_factory(self)

    stopwatch = Stopwatch()
    loader = DataLoader(task.images(), batch_size=task.batch_size, shuffle=True)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        trainer = Trainer(
            max_epochs=1, accelerator=task.device, devices=1, default_root_dir=folder, callbacks=[stopwatch]
        )
        trainer.fit(Plain(), loader)
    return Timing(stopwatch.began, stopwatch.seconds, TRAIN_SIZE)


def this_project(task: Task) -> Timing:
    """Two epochs as `python train.py` runs them: metrics, logging, checkpoints and validation included."""
    from hydra import compose

    from fashion_mlp.callbacks import Stopwatch
    from fashion_mlp.config.compose import initialize_hydra
    from fashion_mlp.training import train

    with tempfile.TemporaryDirectory() as folder, initialize_hydra():
        cfg = compose(
            "train",
            overrides=[
                f"model.hidden_sizes={list(task.hidden_sizes)}",
                f"optimizer={task.optimizer}",
                f"optimizer.lr={LEARNING_RATES[task.optimizer]}",
                f"data.batch_size={task.batch_size}",
                f"trainer.accelerator={task.device}",
                "trainer.max_epochs=2",
                f"run_dir={folder}/run",
                *EXTRA_OVERRIDES,
                "+callbacks.stopwatch._target_=fashion_mlp.callbacks.Stopwatch",
            ],
        )
        with _quiet():
            train(cfg)
    last = Stopwatch.last
    assert last is not None
    return Timing(last.began, last.seconds, 2 * (TRAIN_SIZE - cfg.data.val_size))


METHODS: dict[str, Callable[[Task], Timing]] = {
    "tutorial loop": tutorial_loop,
    "bare loop": bare_loop,
    "plain Lightning": plain_lightning,
    "this project": this_project,
}


def peak_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux getrusage also counts the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a run prints off the terminal; it is written all the same."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def main(arguments: Sequence[str]) -> None:
    """Train an epoch in one way, in this process; print when it began and the peak memory, as JSON."""
    name, task = arguments
    timing = METHODS[name](Task(**json.loads(task)))
    print(json.dumps({**asdict(timing), "peak_memory": peak_memory()}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
