"""The command line on Python 3.14, in an interpreter that is compiled to WebAssembly. It has no torch."""

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def pyodide() -> Path:
    """Return the directory that holds `node_modules/pyodide` and `pydantic_core`, compiled for it."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    directory = Path(os.environ.get("FASHION_MLP_PYODIDE", ""))
    if not (directory / "node_modules/pyodide").is_dir():
        pytest.skip("needs the npm package pyodide in the directory FASHION_MLP_PYODIDE; .ci/run installs it")
    return directory


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--cfg", "job"],
        ["--cfg", "job", "optimizer=sgd", "trainer.max_epochs=3"],
        ["optimizer.lrr=1"],
        ["-m", "optimizer.lr=-1,1"],
        ["--hlep"],
    ],
)
def test_answers_are_those_of_other_versions(pyodide: Path, words: list[str]) -> None:
    runtime = pyodide / "node_modules/pyodide"
    paths = ":".join([str(pyodide), *site.getsitepackages()])  # `pydantic_core` shadows that of this interpreter
    script = Path(__file__).with_name("python_3_14.mjs")
    command = ["node", str(script), str(runtime), str(PROJECT), paths, *words]
    actual = subprocess.run(command, capture_output=True, text=True, timeout=300)
    expected = subprocess.run(
        [sys.executable, "train.py", *words], cwd=PROJECT, capture_output=True, text=True, timeout=300
    )
    assert (actual.stdout, actual.returncode) == (expected.stdout, expected.returncode), actual.stderr[-2000:]
    assert actual.stderr == expected.stderr
