"""Ways to train the same network, each in a process that `fashion-mlp bench` starts.

Each trains two epochs, with Adam at its default settings, records when training starts and ends, and returns the number
of images in an epoch.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

if TYPE_CHECKING:
    from lightning import Callback


# When training started and ended, on the clock of `time.time()`.
_times: list[float] = []


def record_time(*_: object) -> None:
    """Record the start or the end of training; the arguments of a hook are ignored."""
    _times.append(time.time())


def stopwatch() -> "Callback":
    """Return a callback that records when training starts and ends."""
    from lightning.pytorch.callbacks import LambdaCallback  # the bare loops start without it

    return LambdaCallback(on_train_start=record_time, on_train_end=record_time)


def make_network(hidden_sizes: Sequence[int], device: str) -> nn.Sequential:
    """Return the network of the tutorials."""
    sizes = (784, *hidden_sizes)
    hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], 10)).to(device)


def load_images() -> FashionMNIST:
    """Return torchvision's training set, as the tutorials load it."""
    return FashionMNIST(os.environ.get("FASHION_MLP_DATA", "data"), train=True, transform=ToTensor())


def load_pixels() -> tuple[Tensor, Tensor]:
    """Return the training set as pixels from 0 to 1, float `[N, 784]`, and labels, int64 `[N]`."""
    data = load_images()
    return (data.data.float() / 255).flatten(1), data.targets


def tutorial_loop(hidden_sizes: Sequence[int], batch_size: int, device: str) -> int:
    """Train as PyTorch's Quickstart does."""
    data = load_images()
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    network = make_network(hidden_sizes, device)
    batches = ((images.to(device), labels.to(device)) for images, labels in chain(loader, loader))
    run_loop(batches, network, Adam(network.parameters()))
    return len(data)


def bare_loop(hidden_sizes: Sequence[int], batch_size: int, device: str) -> int:
    """Train over tensors on the device, with a fused optimizer and nothing else."""
    images, labels = (tensor.to(device) for tensor in load_pixels())
    network = make_network(hidden_sizes, device)
    order = torch.cat([torch.randperm(len(labels), device=device) for _ in range(2)])
    batches = ((images[indices], labels[indices]) for indices in torch.split(order, batch_size))
    run_loop(batches, network, Adam(network.parameters(), fused=True))
    return len(labels)


def run_loop(batches: Iterable[tuple[Tensor, Tensor]], network: nn.Module, optimizer: Adam) -> None:
    """Train on batches of images and labels, and record the time."""
    record_time()
    for images, labels in batches:
        loss = cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    loss.item()  # waits for the device
    record_time()


def plain_lightning(hidden_sizes: Sequence[int], batch_size: int, device: str) -> int:
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
    with tempfile.TemporaryDirectory() as root:
        trainer = Trainer(max_epochs=2, accelerator=device, devices=1, default_root_dir=root, callbacks=[stopwatch()])
        trainer.fit(Plain(), DataLoader(data, batch_size=batch_size, shuffle=True))
    return len(data)


def this_project(hidden_sizes: Sequence[int], batch_size: int, device: str, *, cuda_graph: bool = False) -> int:
    """Train as `python train.py cuda_graph=...` does, with metrics, logging, checkpoints and validation."""
    from fashion_mlp import compose, train

    with tempfile.TemporaryDirectory() as directory:
        cfg = compose(
            f"model.hidden_sizes={list(hidden_sizes)}",
            f"data.batch_size={batch_size}",
            f"trainer.accelerator={device}",
            "trainer.max_epochs=2",
            f"hydra.run.dir={directory}/run",
            "+callbacks.stopwatch._target_=fashion_mlp.cli.bench_runs.stopwatch",
            f"cuda_graph={cuda_graph}",
        )
        train(cfg)
    return len(load_images()) - int(cfg.data.val_size)


def scikit_learn(hidden_sizes: Sequence[int], batch_size: int, device: str) -> int:
    """Train scikit-learn's MLPClassifier, which supports the CPU only."""
    from sklearn.neural_network import MLPClassifier

    images, labels = (tensor.numpy() for tensor in load_pixels())
    classifier = MLPClassifier(hidden_sizes, batch_size=batch_size, alpha=0)  # without weight decay
    record_time()
    for _ in range(2):
        classifier.partial_fit(images, labels, classes=range(10))  # an epoch
    record_time()
    return len(labels)


def jax_scan(hidden_sizes: Sequence[int], batch_size: int, device: str) -> int:
    """Train over arrays on the device, with JAX and Optax; a whole epoch is one compiled scan over its full batches."""
    import jax
    import optax

    jax.config.update("jax_default_device", jax.devices(device)[0])
    images, labels = (jax.numpy.asarray(tensor.numpy()) for tensor in load_pixels())
    tensors = [parameter.detach().numpy() for parameter in make_network(hidden_sizes, "cpu").parameters()]
    optimizer = optax.adam(1e-3)
    num_batches = len(labels) // batch_size

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
        batches = order[: num_batches * batch_size].reshape(num_batches, batch_size)
        return jax.lax.scan(step, state, batches)[0]

    state = (tensors, optimizer.init(tensors))
    compiled = jax.jit(epoch).lower(state, 0).compile()
    record_time()
    for seed in range(2):
        state = jax.block_until_ready(compiled(state, seed))
    record_time()
    return num_batches * batch_size


METHODS: dict[str, Callable[..., int]] = {
    "tutorial loop": tutorial_loop,
    "bare loop": bare_loop,
    "plain Lightning": plain_lightning,
    "this project": this_project,
}
CUDA_METHODS: dict[str, Callable[..., int]] = {"CUDA graph": partial(this_project, cuda_graph=True)}
# Other libraries, of the extra [peers].
PEERS: dict[str, Callable[..., int]] = {"scikit-learn": scikit_learn, "JAX scan": jax_scan}


def main(name: str, **task: Any) -> None:
    """Train by one method, and print the numbers of `fashion-mlp bench` as JSON.

    These are the seconds for 60,000 images, when training started, and the peak memory of this process in bytes.

    Args:
        name: the name of the method.
        **task: the arguments of the method.
    """
    samples = 2 * (METHODS | CUDA_METHODS | PEERS)[name](**task)
    start, end = _times[-2:]
    # In bytes on macOS, in KiB on Linux.
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps([60_000 / samples * (end - start), start, peak_memory]))  # noqa: T201
