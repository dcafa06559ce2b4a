"""`compose` and `train`, in a script and in a notebook."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from nbclient import NotebookClient
from omegaconf.errors import ReadonlyConfigError

from fashion_mlp import compose, train
from fashion_mlp.runtime.errors import UserError
from tests.conftest import SMALL, Run, RunCommand

QUICK = (*SMALL, "trainer.max_epochs=1", "test=true")


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_train_returns_the_directory_the_metrics_and_the_checkpoint(data_root: Path, tmp_path: Path) -> None:
    handlers = logging.root.handlers[:]
    cfg = compose(*QUICK, f"data.root={data_root}", "optimizer.lr=2e-3")
    assert cfg.optimizer.lr == 2e-3
    first, second = train(cfg), train(cfg)
    assert first.directory.parents[2] == second.directory.parents[2] == tmp_path
    assert first.directory != second.directory
    assert first.metrics == Run(first.directory).metrics
    assert first.metrics["test/acc"] == second.metrics["test/acc"]
    assert first.checkpoint == first.directory / "checkpoints/best.ckpt"
    assert {path.name for path in (first.directory / ".hydra").iterdir()} == {
        "config.yaml",
        "hydra.yaml",
        "overrides.yaml",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert logging.root.handlers == handlers
    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized()
    with pytest.raises(ReadonlyConfigError):
        cfg.optimizer.lr = 3


def test_a_run_is_resumed_by_either(data_root: Path, run_in_process: RunCommand) -> None:
    run = train(compose(*QUICK, f"data.root={data_root}"))
    done = run_in_process(f"resume={run.directory}", "trainer.max_epochs=2")
    assert (done.returncode, done.stderr) == (0, "")
    again = train(compose(f"resume={run.directory}", "trainer.max_epochs=3"))
    assert (again.directory, again.metrics["epochs"]) == (run.directory, 3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lrr=3"], r"optimizer\.lrr=3: no such key; did you mean optimizer\.lr\?"),
        (["seed=1,2"], "seed=1,2: several values without -m"),
        (["-m", "seed=1,2"], "-m seed=1,2: a sweep. Run it on the command line"),
        (["experiment=optimizers"], "experiment=optimizers: a sweep. Run it on the command line: python train.py -m"),
        (["resume=nowhere"], "resume=nowhere: no such directory"),
    ],
)
def test_mistakes_are_user_errors(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose(*overrides)
    assert not GlobalHydra.instance().is_initialized()


def test_an_error_of_the_run_directory_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^hydra.run.dir=run: holds a run already"):
        train(compose(*QUICK, "hydra.run.dir=run"))


def test_an_interrupted_run_raises_keyboard_interrupt(data_root: Path, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "run/checkpoints/last.ckpt").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt, match=r"resume with: python train.py resume=run$"):
        train(compose(*QUICK, f"data.root={data_root}", "hydra.run.dir=run", "trainer.max_epochs=100000"))
    thread.join()


def test_importing_the_functions_does_not_import_torch() -> None:
    code = "import sys; from fashion_mlp import compose, train; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.slow
def test_a_notebook_trains(data_root: Path, tmp_path: Path) -> None:
    overrides = [*QUICK, f"data.root={data_root}"]
    cells = [
        "from fashion_mlp import compose, train",
        f"run = train(compose(*{overrides}))\nrun.metrics['test/acc']",
        "compose('optimizer.lrr=3')",
        f"train(compose(*{overrides})).directory == run.directory",
    ]
    code: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    content = {
        "cells": [{**code, "source": cell} for cell in cells],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    notebook = nbformat.reads(json.dumps(content), as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": tmp_path}}).execute()
    _, trained, mistake, again = (cell.outputs for cell in notebook.cells)
    text = "".join(output.get("text", "") for output in trained)
    assert "epoch 1/1   train loss" in text
    assert "epoch 1/1: " in text  # the progress bar
    (run_dir,) = [path.parent for path in tmp_path.glob("runs/*/*/metrics.json")][:1]
    assert trained[-1].data["text/plain"] == str(Run(run_dir).metrics["test/acc"])
    assert mistake[0].traceback[0].startswith("error: optimizer.lrr=3: no such key; did you mean optimizer.lr?")
    assert again[-1].data["text/plain"] == "False"
