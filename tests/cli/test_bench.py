"""The four ways train the same thing; how fast they are is for `fashion-mlp bench` to say, not for a test."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fashion_mlp.callbacks import Stopwatch
from fashion_mlp.cli import bench, bench_runs
from fashion_mlp.cli.main import main
from fashion_mlp.data import FashionMNISTDataModule
from fashion_mlp.data.download import download_and_verify
from fashion_mlp.data.garments import draw_garments
from fashion_mlp.data.idx import write_split


@pytest.fixture
def _small_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have 640 drawn garments lie where Fashion-MNIST would."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count, seed in (("train", 640, 0), ("test", 100, 1)):
        write_split(raw, split, *draw_garments(count, seed))
    sha256 = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in raw.iterdir()}
    monkeypatch.setattr(FashionMNISTDataModule, "sha256", sha256)
    monkeypatch.setenv("FASHION_MLP_DATA", str(tmp_path))
    monkeypatch.setattr(bench_runs, "TRAIN_SIZE", 640)
    monkeypatch.setattr(bench_runs, "EXTRA_OVERRIDES", ("data.val_size=64",))
    download_and_verify.cache_clear()


def test_the_network_is_that_of_the_task() -> None:
    network = bench_runs.Task(hidden_sizes=(20, 30)).network()
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [20, 30, 10]


@pytest.mark.usefixtures("_small_set")
def test_the_table_has_a_row_for_each_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    alone = {"start_up_seconds": 1.5, "peak_memory_bytes": 3 * 2**20}
    monkeypatch.setattr(bench, "_alone", lambda *_: alone)
    threads = torch.get_num_threads()
    typed = ["bench", "--hidden-sizes", "8", "--optimizer", "sgd", "--device", "cpu", "--threads", "1"]
    assert main([*typed, "--rounds", "2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in facts["ways"]] == list(bench_runs.WAYS)
    assert facts["ways"][1]["time_over_bare_loop"] == 1
    assert facts["task"]["optimizer"] == "sgd"
    assert main([*typed, "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "784-8-10, sgd, batch 64, cpu, 1 threads"
    assert lines[-1].startswith("this project")
    assert lines[-1].endswith("1.5 s     3 MiB")
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_small_set")
def test_this_project_counts_the_images_it_trained_on() -> None:
    timing = bench_runs.this_project(bench_runs.Task(hidden_sizes=(8,)))
    assert timing.samples == 2 * (640 - 64)
    assert Stopwatch.last is not None
    assert timing.seconds == Stopwatch.last.seconds > 0


@pytest.mark.slow
def test_a_way_alone_loads_only_what_it_needs(tmp_path: Path) -> None:
    code = "import sys; import fashion_mlp.cli.bench_runs; print('lightning' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_peak_memory_is_that_of_this_process() -> None:
    before = bench_runs.peak_memory()
    block = np.ones(64 * 2**20, np.uint8)
    assert bench_runs.peak_memory() >= before
    assert bench_runs.peak_memory() > len(block)
