"""Four ways to train the same network: `python -m fashion_mlp.cli.bench_runs METHOD TASK` prints the timing of one."""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

# The start of training on the clock of `time.time()`, its seconds, and its number of training images.
Timing: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class Task:
    """A network to train, and how."""

    hidden_sizes: Sequence[int] = (256, 128)
    optimizer: str = "adam"
    batch_size: int = 64
    device: str = "cpu"

    def make_network(self) -> nn.Sequential:
        """Return the network of the tutorials, on the device."""
        sizes = (784, *self.hidden_sizes)
        hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], 10)).to(self.device)

    def make_optimizer(self, network: nn.Module, *, fused: bool | None = None) -> Optimizer:
        """Return the optimizer, with torch's default settings."""
        optimizer = Adam if self.optimizer == "adam" else SGD
        return optimizer(network.parameters(), lr=1e-3, fused=fused)

    def load_images(self) -> FashionMNIST:
        """Return torchvision's training set, as the tutorials load it."""
        return FashionMNIST(os.environ.get("FASHION_MLP_DATA", "data"), train=True, transform=ToTensor())


def tutorial_loop(task: Task) -> Timing:
    """Train two epochs as PyTorch's Quickstart does."""
    data = task.load_images()
    loader = DataLoader(data, batch_size=task.batch_size, shuffle=True)
    network, loss_fn = task.make_network(), nn.CrossEntropyLoss()
    optimizer = task.make_optimizer(network)
    start = time.time()
    for batch, (images, labels) in enumerate(chain(loader, loader)):
        images, labels = images.to(task.device), labels.to(task.device)
        loss = loss_fn(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch % 100 == 0:
            loss.item()
    return {"start": start, "seconds": time.time() - start, "samples": 2 * len(data)}


def bare_loop(task: Task) -> Timing:
    """Train two epochs over tensors on the device, with a fused optimizer and nothing else."""
    data = task.load_images()
    images, labels = (data.data.float() / 255).flatten(1).to(task.device), data.targets.to(task.device)
    network = task.make_network()
    optimizer = task.make_optimizer(network, fused=True)
    start = time.time()
    epochs = [torch.randperm(len(labels), device=task.device) for _ in range(2)]
    for indices in torch.split(torch.cat(epochs), task.batch_size):
        loss = cross_entropy(network(images[indices]), labels[indices])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    loss.item()  # waits for the device
    return {"start": start, "seconds": time.time() - start, "samples": 2 * len(data)}


def plain_lightning(task: Task) -> Timing:
    """Train two epochs of a LightningModule as in Lightning's introduction, over the tutorial's loader."""
    from lightning import LightningModule, Trainer

    from fashion_mlp.callbacks.stopwatch import Stopwatch

    class Plain(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.make_network()

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            images, labels = batch
            loss = cross_entropy(self.network(images), labels)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Optimizer:
            return task.make_optimizer(self)

    data = task.load_images()
    loader = DataLoader(data, batch_size=task.batch_size, shuffle=True)
    with tempfile.TemporaryDirectory() as directory:
        timing = Path(directory, "timing.json")
        trainer = Trainer(
            max_epochs=2, accelerator=task.device, devices=1, default_root_dir=directory, callbacks=[Stopwatch(timing)]
        )
        trainer.fit(Plain(), loader)
        return {**json.loads(timing.read_text()), "samples": 2 * len(data)}


def this_project(task: Task) -> Timing:
    """Train two epochs as `python train.py` does, with metrics, logging, checkpoints and validation."""
    from hydra import compose

    from fashion_mlp.config.compose import initialize_hydra
    from fashion_mlp.training import train

    with tempfile.TemporaryDirectory() as directory, initialize_hydra():
        timing = Path(directory, "timing.json")
        cfg = compose(
            "train",
            overrides=[
                f"model.hidden_sizes={list(task.hidden_sizes)}",
                f"optimizer={task.optimizer}",
                "optimizer.lr=1e-3",
                f"data.batch_size={task.batch_size}",
                f"trainer.accelerator={task.device}",
                "trainer.max_epochs=2",
                f"run_dir={directory}/run",
                "+callbacks.stopwatch._target_=fashion_mlp.callbacks.stopwatch.Stopwatch",
                f"+callbacks.stopwatch.path={timing}",
            ],
        )
        train(cfg)
        return {**json.loads(timing.read_text()), "samples": 2 * (len(task.load_images()) - cfg.data.val_size)}


METHODS: dict[str, Callable[[Task], Timing]] = {
    "tutorial loop": tutorial_loop,
    "bare loop": bare_loop,
    "plain Lightning": plain_lightning,
    "this project": this_project,
}


def main(name: str, task: str) -> None:
    """Train by one method; print its timing and the peak memory of this process as JSON."""
    timing = METHODS[name](Task(**json.loads(task)))
    # In bytes on macOS, in KiB on Linux.
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({**timing, "peak_memory_bytes": peak_memory}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
