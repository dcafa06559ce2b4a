"""Tests of `fashion-mlp bench`: its methods and its table."""

import hashlib
import json
import os
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import nn

import fashion_mlp
from fashion_mlp.api import compose
from fashion_mlp.cli import bench_runs
from fashion_mlp.cli.commands import bench
from fashion_mlp.cli.main import main
from fashion_mlp.data import FashionMNISTDataModule
from fashion_mlp.data.download import download_and_verify
from fashion_mlp.data.mnist import write_split
from fashion_mlp.data.synthetic import draw_garments

TRAIN_SIZE = 600
TASK: dict[str, Any] = {"hidden_sizes": [8], "batch_size": 10, "device": "cpu"}


@pytest.fixture
def _small_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace Fashion-MNIST by a few synthetic images."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count, seed in (("train", TRAIN_SIZE, 0), ("test", 100, 1)):
        write_split(raw, split, *draw_garments(count, seed))
    sha256 = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in raw.iterdir()}
    monkeypatch.setattr(FashionMNISTDataModule, "sha256", sha256)
    monkeypatch.setenv("FASHION_MLP_DATA", str(tmp_path))
    download_and_verify.cache_clear()


def test_network_has_the_sizes_of_the_task() -> None:
    network = bench_runs.make_network((20, 30), "cpu")
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [20, 30, 10]


@pytest.mark.usefixtures("_small_fashion_mnist")
def test_each_method_reports_its_training_images_and_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "data.val_size=100", "callbacks=lean"
    monkeypatch.setattr(fashion_mlp, "compose", lambda *overrides: compose(*overrides, *small))
    for name, method in bench_runs.METHODS.items():
        images = method(**TASK)
        assert images == (TRAIN_SIZE - 100 if name == "this project" else TRAIN_SIZE)
    bench_runs.main("bare loop", **TASK)
    seconds, start, peak_memory = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < seconds * 2 * TRAIN_SIZE / 60_000 <= time.time() - start
    assert peak_memory > 2**24


@pytest.mark.usefixtures("_small_fashion_mnist")
def test_table_has_a_row_for_each_method(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "_measure", lambda name, *_: (3.0 if name == "bare loop" else 6.0, 1.5, 3 * 2**20))
    arguments = ["bench", "--hidden-sizes", "8", "--device", "cpu"]
    assert main([*arguments, "--rounds", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"784-8-10, batch 64, cpu, {torch.get_num_threads()} threads"
    rows = [line.split("  ") for line in lines[-len(bench_runs.METHODS) :]]
    assert [row[0] for row in rows] == list(bench_runs.METHODS)
    assert lines[-1].split() == ["this", "project", "6.00", "2.00", "1.5", "s", "3", "MiB"]


@pytest.mark.usefixtures("_small_fashion_mnist")
def test_busy_compares_one_run_with_two_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds, both, names = cycle([2.0, 5.0, 6.0]), Barrier(2), list[str]()

    def measure(name: str, task: object) -> tuple[float, float, float]:
        names.append(name)
        run = next(seconds)
        if run > 2:
            both.wait(timeout=60)
        return run, 1.5, 3 * 2**20

    monkeypatch.setattr(bench, "_measure", measure)
    assert main(["bench", "--busy", "--rounds", "1", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == ["bare", "loop", "2.00", "5.50", "2.75"]
    assert lines[-1].split() == ["this", "project", "2.00", "5.50", "2.75"]
    assert names == ["bare loop"] * 3 + ["this project"] * 3


@pytest.mark.usefixtures("_small_fashion_mnist")
def test_peers_have_a_row_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = [*bench_runs.METHODS, *bench_runs.PEERS]
    monkeypatch.setattr(bench, "find_spec", lambda name: name != "jax")
    with pytest.raises(SystemExit, match=r"Type python -m pip install -e '.\[peers\]'$"):
        main(["bench", "--peers", "--device", "cpu"])
    monkeypatch.setattr(bench, "find_spec", lambda name: True)
    monkeypatch.setattr(bench, "_measure", lambda *_: (3.0, 1.5, 3 * 2**20))
    assert main(["bench", "--peers", "--device", "cpu"]) == 0
    rows = [line[:16].strip() for line in capsys.readouterr().out.splitlines()]
    assert rows[-len(names) :] == names


@pytest.mark.parametrize("name", bench_runs.PEERS)
@pytest.mark.usefixtures("_small_fashion_mnist")
def test_a_peer_reports_its_training_images(name: str) -> None:
    pytest.importorskip({"scikit-learn": "sklearn", "JAX scan": "optax"}[name], reason="needs the extra [peers]")
    assert bench_runs.PEERS[name](**TASK) == TRAIN_SIZE


@pytest.mark.slow
@pytest.mark.usefixtures("_small_fashion_mnist")
def test_method_is_measured_in_a_new_process_that_does_not_import_lightning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lightning.py").write_text("raise SystemExit('imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = subprocess.run([sys.executable, "-c", "import lightning"], capture_output=True, text=True, check=False)
    assert done.stderr == "imported\n"
    seconds, start_up, memory = bench._measure("bare loop", TASK)
    assert seconds > 0
    assert start_up > 0.5
    assert memory > 2**27
