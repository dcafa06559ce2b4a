"""Every command that the README shows runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fashion_mlp.cli.main import main
from fashion_mlp.data.garments import draw_garments
from tests.conftest import ROOT, RunCommand

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.partition("#")[0].strip()
]
SERVED = [command for command in COMMANDS if command.startswith("fashion-mlp demo")]
"""Until Ctrl-C: tested with the page."""
TOOLS = [command for command in COMMANDS if command.startswith("fashion-mlp") and command not in SERVED]
PARALLEL = [command for command in COMMANDS if "hydra/launcher=" in command]
"""Tested with the sweeps."""
TRAININGS = [command for command in COMMANDS if command.startswith("python train.py") and command not in PARALLEL]


def test_every_command_is_of_a_kind_that_is_tested_here() -> None:
    others = [command for command in COMMANDS if command not in TRAININGS + PARALLEL + TOOLS + SERVED]
    assert TRAININGS
    assert TOOLS
    assert set(others) == {
        "python -m pip install -e . && python train.py",
        "python -m pip install -e '.[test]' && pytest",
        "tensorboard --logdir runs",
        "CKPT=$(ls -t runs/*/*/checkpoints/best.ckpt | head -1)",
    }


HEADERS = [
    command.replace("\n#", "\n")
    for path in sorted((ROOT / "conf").rglob("*.yaml"))
    for command in re.findall(r"^#   ((?:python|for|srun|torchrun) (?:.*\\\n#)*.*)", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("block", [*BLOCKS, *HEADERS])
def test_a_shell_understands_it(block: str) -> None:
    done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", TRAININGS + PARALLEL + TOOLS)
def test_no_shell_takes_a_value_for_a_pattern(command: str) -> None:
    assert not set(re.sub("'.*?'", "", command)) & set("[](){}*?"), "zsh says: no matches found"


@pytest.fixture
def custom_images(tmp_path: Path) -> None:
    """Lay out the pictures that the README's commands name."""
    pictures, labels = draw_garments(40, seed=0)
    (tmp_path / "images").mkdir()
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        image = Image.fromarray(picture)
        image.save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "folders" / str(label)).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "folders" / str(label) / f"{number}.png")
    image.save(tmp_path / "photo.jpg")
    lines = [f"{number}.png,{label}\n" for number, label in enumerate(labels)]
    (tmp_path / "labels.csv").write_text("".join(lines))


@pytest.mark.parametrize("command", TRAININGS)
@pytest.mark.usefixtures("custom_images")
def test_a_training_command_runs(command: str, run_here: RunCommand, run_as_typed: RunCommand, tmp_path: Path) -> None:
    arguments = shlex.split(command)[2:]
    if any(argument.startswith("data=image_") for argument in arguments):
        done = run_as_typed(*arguments, "trainer.max_epochs=1")  # these know none of the keys of drawn data
    else:
        short = ["hydra.sweeper.n_trials=2"] if "sweep=optuna" in arguments else []
        done = run_here(*arguments, "trainer.limit_train_batches=2", *short)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.glob("runs/**/metrics.json")) or "--cfg" in command


@pytest.mark.usefixtures("custom_images")
def test_the_commands_on_a_checkpoint_run(run_here: RunCommand, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    assert run_here().returncode == 0
    (checkpoint,) = tmp_path.glob("runs/*/*/checkpoints/best.ckpt")
    for command in TOOLS:
        arguments = [str(checkpoint) if word == "$CKPT" else word for word in shlex.split(command)[1:]]
        if arguments[0] == "data":  # the real set is not there in every test run
            arguments += ["data=synthetic", "data.train_size=100", "data.test_size=20", "data.val_size=10"]
        assert main(arguments) == 0, command
    for name in ("plots/mistakes.png", "seen.png", "samples.png", "grid.png"):
        assert (tmp_path / name).is_file()
    made = {path.name for path in tmp_path.iterdir()} - before
    assert made == {"runs", "data", "plots", "seen.png", "samples.png", "grid.png"}


def test_tensorboard_finds_the_runs(run_here: RunCommand, tmp_path: Path) -> None:
    assert run_here().returncode == 0
    command = [str(Path(sys.executable).with_name("tensorboard")), "--logdir", "runs", "--inspect"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "val/acc" in shown


def test_continuous_integration_installs_and_tests_as_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "python -m pip install --quiet -e '.[test]'\npytest" in script


def test_it_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 150
