"""Tests of the entry point of `fashion-mlp`: its parser, its help and its error messages."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fashion_mlp.cli.main import COMMANDS, _parse
from tests.cli.conftest import RunCLI

OPTIONS = {
    "data": ["--plot", "x.png"],
    "evaluate": ["--tta", "--device", "cpu"],
    "predict": ["--test-samples", "3", "--json"],
    "embed": ["--images", "3"],
    "export": ["--format", "onnx"],
    "demo": ["--port", "8000"],
    "bench": ["--hidden-sizes", "20", "30", "--rounds", "1"],
    "lr-find": ["--plot", "x.png"],
    "schema": [],
}
WORDS: dict[str, list[str]] = {
    "data": ["data=synthetic", "data.seed=1"],
    "export": ["a.ckpt"],
    "bench": [],
    "lr-find": ["optimizer=sgd", "seed=1"],
    "schema": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_words_may_stand_before_between_and_after_options(command: str) -> None:
    words, options = WORDS.get(command, ["a.ckpt", "data=synthetic", "data.seed=1"]), OPTIONS[command]
    _, expected = _parse([command, *options, *words])
    assert [*vars(expected).get("words", [])] == [word for word in words if not word.endswith(".ckpt")]
    for number in range(len(words) + 1):
        assert _parse([command, *words[:number], *options, *words[number:]])[1] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (["evaluate", "CKPT", "gone.ckpt", "--tta"], "gone.ckpt: no such checkpoint"),
        (["evaluate", "CKPT", "optimizer=sgd"], "optimizer=sgd: not supported here. Expected data=OPTION"),
        (["evaluate", "CKPT", "data=image_cvs"], "data=image_cvs: no such option; did you mean image_csv?"),
        (["evaluate", "CKPT", "data.rot=x"], "data.rot=x: no such key; did you mean data.root?"),
        (["evaluate", "CKPT", "data.batch_size=0"], "data.batch_size=0: invalid value. Expected an integer"),
        (["evaluate", "CKPT", "data.batch_size=x"], "data.batch_size=x: invalid value. Expected an integer"),
        (["evaluate", "CKPT", "data.batch_size"], "data.batch_size: cannot be parsed"),
        (["predict", "CKPT"], "IMAGE: required. Type image files"),
        (["predict", "CKPT", "gone.png"], "gone.png: no such image"),
        (["predict", "CKPT", ".", "--plot", "x.png"], "--plot: only with --test-samples"),
        (["export", "CKPT", "--format", "onnx", "--output", "x.pt"], "--output x.pt: wrong suffix."),
        (["evaluate", "CKPT", "ROOT", "--plots", "/dev/null/x"], "/dev/null/x: /dev/null is a file. Expected"),
        (["data", "data=synthetic", "ROOT", "data.train_size=600", "data.test_size=200", "data.val_size=100",
          "--plot", "x.what"], "x.what: unknown format. Expected .jpg"),
        (["evaluate", "CKPT", "--device", "cuda"], "--device cuda: not available on this machine"),
    ],
)  # fmt: skip
def test_errors_are_one_line(
    run_cli: RunCLI, checkpoint: Path, root: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run_cli(*({"CKPT": str(checkpoint), "ROOT": root}.get(word, word) for word in arguments))
    assert result.status == 1
    assert result.err.startswith(f"error: {message}")
    assert len(result.err.splitlines()) == 1


def test_out_of_memory_is_explained(
    run_cli: RunCLI, checkpoint: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_oom(*arguments: Any) -> torch.Tensor:
        raise RuntimeError("MPS backend out of memory (MPS allocated: 9 GB). Tried to allocate 1.50 GB on private pool")

    monkeypatch.setattr("fashion_mlp.classifier.Classifier.forward", raise_oom)
    result = run_cli("evaluate", checkpoint, root)
    assert result.status == 1
    assert result.err.startswith("error: out of memory on MPS")
    assert result.err.endswith("use smaller batches, fewer images, or --device cpu")


def test_help_is_printed_without_importing_torch(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("fashion-mlp")), "--help"]
    if not shutil.which(command[0]):
        command = [sys.executable, "-m", "fashion_mlp.cli.main", "--help"]
    done = subprocess.run([sys.executable, "-X", "importtime", *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "evaluate" in done.stdout
    assert " torch" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "data.batch_sise=3"], "data.batch_sise=3: no such key; did you mean data.batch_size?"),
        (["lr-find", "optimizer.lrr=3"], "optimizer.lrr=3: no such key; did you mean optimizer.lr?"),
    ],
)
def test_a_mistake_in_an_override_is_reported_without_importing_torch(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    program = "import sys; from fashion_mlp.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-X", "importtime", "-c", program, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert message in done.stderr
    assert " torch" not in done.stderr
