"""Tests that the command line answers the same on other versions of Python, without torch; `.ci/run` installs these."""

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow
# Interpreters with Hydra and pydantic, separated by colons.
PYTHONS = os.environ.get("FASHION_MLP_PYTHONS", "")
# A directory with Python 3.14 for WebAssembly, `node_modules/pyodide`, and with `pydantic_core` for it.
PYODIDE = os.environ.get("FASHION_MLP_PYODIDE", "")
COMMANDS = [
    ["--help"],
    ["--cfg", "job"],
    ["--cfg", "job", "optimizer=sgd", "trainer.max_epochs=3"],
    ["optimizer.lrr=1"],
    ["-m", "optimizer.lr=-1,1"],
    ["--hlep"],
]

Answer = tuple[int, str, str]


def answer(command: list[str]) -> Answer:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module", params=COMMANDS, ids=" ".join)
def command(request: pytest.FixtureRequest) -> tuple[list[str], Answer]:
    words: list[str] = request.param
    return words, answer([sys.executable, "train.py", *words])


@pytest.mark.skipif(not PYTHONS, reason="FASHION_MLP_PYTHONS names no interpreter")
@pytest.mark.parametrize("python", PYTHONS.split(":"))
def test_other_versions_answer_the_same(python: str, command: tuple[list[str], Answer]) -> None:
    words, expected = command
    assert answer([python, "train.py", *words]) == expected


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.skipif(not Path(PYODIDE, "node_modules/pyodide").is_dir(), reason="FASHION_MLP_PYODIDE has no pyodide")
def test_python_3_14_answers_the_same(command: tuple[list[str], Answer]) -> None:
    words, expected = command
    script = Path(__file__).with_name("pyodide.mjs")
    paths = ":".join([PYODIDE, *site.getsitepackages()])  # its `pydantic_core` shadows that of this interpreter
    runtime = Path(PYODIDE, "node_modules/pyodide")
    assert answer(["node", str(script), str(runtime), str(ROOT), paths, *words]) == expected
