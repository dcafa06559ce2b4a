"""Ways to train the same network: `python -m fashion_mlp.cli.bench_runs METHOD TASK` prints the timing of one.

Each trains two epochs, with Adam at its default settings, and returns when training started, on the clock of
`time.time()`, its seconds, and the number of training images.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

if TYPE_CHECKING:
    from lightning import Callback


def make_network(hidden_sizes: Sequence[int], device: str) -> nn.Sequential:
    """Return the network of the tutorials."""
    sizes = (784, *hidden_sizes)
    hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], 10)).to(device)


def load_images() -> FashionMNIST:
    """Return torchvision's training set, as the tutorials load it."""
    return FashionMNIST(os.environ.get("FASHION_MLP_DATA", "data"), train=True, transform=ToTensor())


def tutorial_loop(hidden_sizes: Sequence[int], batch_size: int, device: str) -> dict[str, float]:
    """Train as PyTorch's Quickstart does."""
    data = load_images()
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    network, loss_fn = make_network(hidden_sizes, device), nn.CrossEntropyLoss()
    optimizer = Adam(network.parameters())
    start = time.time()
    for batch, (images, labels) in enumerate(chain(loader, loader)):
        images, labels = images.to(device), labels.to(device)
        loss = loss_fn(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch % 100 == 0:
            loss.item()
    return {"start": start, "seconds": time.time() - start, "samples": 2 * len(data)}


def bare_loop(hidden_sizes: Sequence[int], batch_size: int, device: str) -> dict[str, float]:
    """Train over tensors on the device, with a fused optimizer and nothing else."""
    data = load_images()
    images, labels = (data.data.float() / 255).flatten(1).to(device), data.targets.to(device)
    network = make_network(hidden_sizes, device)
    optimizer = Adam(network.parameters(), fused=True)
    start = time.time()
    epochs = [torch.randperm(len(labels), device=device) for _ in range(2)]
    for indices in torch.split(torch.cat(epochs), batch_size):
        loss = cross_entropy(network(images[indices]), labels[indices])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    loss.item()  # waits for the device
    return {"start": start, "seconds": time.time() - start, "samples": 2 * len(data)}


def plain_lightning(hidden_sizes: Sequence[int], batch_size: int, device: str) -> dict[str, float]:
    """Train a LightningModule as in Lightning's introduction, over the tutorial's loader."""
    from lightning import LightningModule, Trainer

    class Plain(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = make_network(hidden_sizes, device)

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            images, labels = batch
            loss = cross_entropy(self.network(images), labels)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Adam:
            return Adam(self.parameters())

    data = load_images()
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    with tempfile.TemporaryDirectory() as directory:
        timing = Path(directory, "timing.json")
        trainer = Trainer(
            max_epochs=2, accelerator=device, devices=1, default_root_dir=directory, callbacks=[stopwatch(timing)]
        )
        trainer.fit(Plain(), loader)
        return {**json.loads(timing.read_text()), "samples": 2 * len(data)}


def stopwatch(path: str | Path) -> "Callback":
    """Return a callback that writes when training started and its seconds to a JSON file."""
    from lightning.pytorch.callbacks import LambdaCallback  # the bare loops start without it

    times: dict[str, float] = {}

    def write(*_: object) -> None:
        Path(path).write_text(json.dumps({**times, "seconds": time.time() - times["start"]}))

    return LambdaCallback(on_train_start=lambda *_: times.update(start=time.time()), on_train_end=write)


def this_project(hidden_sizes: Sequence[int], batch_size: int, device: str) -> dict[str, float]:
    """Train as `python train.py` does, with metrics, logging, checkpoints and validation."""
    from hydra import compose

    from fashion_mlp.config.command_line import initialize_hydra
    from fashion_mlp.training import train

    with tempfile.TemporaryDirectory() as directory, initialize_hydra():
        timing = Path(directory, "timing.json")
        overrides = [
            f"model.hidden_sizes={list(hidden_sizes)}",
            f"data.batch_size={batch_size}",
            f"trainer.accelerator={device}",
            "trainer.max_epochs=2",
            f"run_dir={directory}/run",
            f"+callbacks.stopwatch={{_target_:fashion_mlp.cli.bench_runs.stopwatch,path:{timing}}}",
        ]
        cfg = compose("train", overrides=overrides)
        train(cfg)
        return {**json.loads(timing.read_text()), "samples": 2 * (len(load_images()) - cfg.data.val_size)}


def public_step(hidden_sizes: Sequence[int], batch_size: int, device: str) -> dict[str, float]:
    """Train as this project, but with Lightning's public `optimizer.step()` in place of its private ones."""
    from lightning.pytorch.core.optimizer import LightningOptimizer

    with patch("fashion_mlp.multi_step._step_optimizer", LightningOptimizer.step):
        return this_project(hidden_sizes, batch_size, device)


def scikit_learn(hidden_sizes: Sequence[int], batch_size: int, device: str) -> dict[str, float]:
    """Train scikit-learn's MLPClassifier, which supports the CPU only."""
    from sklearn.neural_network import MLPClassifier

    data = load_images()
    images, labels = (data.data.float() / 255).flatten(1).numpy(), data.targets.numpy()
    classifier = MLPClassifier(hidden_sizes, batch_size=batch_size, alpha=0)  # without weight decay
    start = time.time()
    for _ in range(2):
        classifier.partial_fit(images, labels, classes=range(10))  # an epoch
    return {"start": start, "seconds": time.time() - start, "samples": 2 * len(data)}


def jax_scan(hidden_sizes: Sequence[int], batch_size: int, device: str) -> dict[str, float]:
    """Train over arrays on the device, with JAX and Optax; a whole epoch is one compiled scan over its full batches."""
    import jax
    import optax

    jax.config.update("jax_default_device", jax.devices(device)[0])
    data = load_images()
    images = jax.numpy.asarray((data.data.float() / 255).flatten(1).numpy())
    labels = jax.numpy.asarray(data.targets.numpy())
    tensors = [parameter.detach().numpy() for parameter in make_network(hidden_sizes, "cpu").parameters()]
    optimizer = optax.adam(1e-3)

    def loss_fn(parameters: Any, indices: Any) -> Any:
        features = images[indices]
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            features = jax.nn.relu(features @ weight.T + bias)
        logits = features @ parameters[-2].T + parameters[-1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[indices]).mean()

    def step(state: Any, indices: Any) -> Any:
        parameters, moments = state
        updates, moments = optimizer.update(jax.grad(loss_fn)(parameters, indices), moments)
        return (optax.apply_updates(parameters, updates), moments), None

    def epoch(state: Any, seed: int) -> Any:
        order = jax.random.permutation(jax.random.key(seed), len(labels))
        batches = order[: len(labels) // batch_size * batch_size].reshape(-1, batch_size)
        return jax.lax.scan(step, state, batches)[0]

    state = (tensors, optimizer.init(tensors))
    compiled = jax.jit(epoch).lower(state, 0).compile()
    start = time.time()
    for seed in range(2):
        state = jax.block_until_ready(compiled(state, seed))
    return {"start": start, "seconds": time.time() - start, "samples": 2 * (len(labels) // batch_size * batch_size)}


METHODS: dict[str, Callable[..., dict[str, float]]] = {
    "tutorial loop": tutorial_loop,
    "bare loop": bare_loop,
    "plain Lightning": plain_lightning,
    "this project": this_project,
    "public step()": public_step,
}
# Other libraries, of the extra [peers].
PEERS: dict[str, Callable[..., dict[str, float]]] = {"scikit-learn": scikit_learn, "JAX scan": jax_scan}


def main(name: str, task: str) -> None:
    """Train by one method; print its timing and the peak memory of this process as JSON.

    Args:
        name: of the method.
        task: the arguments of the method, as JSON.
    """
    timing = (METHODS | PEERS)[name](**json.loads(task))
    # In bytes on macOS, in KiB on Linux.
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({**timing, "peak_memory_bytes": peak_memory}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
