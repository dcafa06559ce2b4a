"""Every command that the README shows runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.partition("#")[0].strip()
]
TRAININGS = [command for command in COMMANDS if command.startswith("python train.py")]


def test_every_command_is_of_a_kind_that_is_tested_here() -> None:
    others = [command for command in COMMANDS if command not in TRAININGS]
    assert TRAININGS
    assert set(others) == {
        "python -m pip install -e . && python train.py",
        "python -m pip install -e '.[test]' && pytest",
        "tensorboard --logdir runs",
    }


@pytest.mark.parametrize("command", TRAININGS)
def test_a_training_command_runs(command: str, run_here: Run, tmp_path: Path) -> None:
    done = run_here(*shlex.split(command)[2:], "trainer.limit_train_batches=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.glob("runs/**/metrics.json")) or "--cfg" in command


def test_tensorboard_finds_the_runs(run_here: Run, tmp_path: Path) -> None:
    assert run_here().returncode == 0
    command = [str(Path(sys.executable).with_name("tensorboard")), "--logdir", "runs", "--inspect"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "val/acc" in shown


def test_continuous_integration_installs_and_tests_as_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "python -m pip install --quiet -e '.[test]'\npytest" in script


def test_it_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 150
