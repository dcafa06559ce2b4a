"""Tests that each command in the README runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_file_inspector import inspect

from fashion_mlp.cli import lr_range_test
from fashion_mlp.cli.main import main
from fashion_mlp.data.synthetic import draw_garments
from tests.conftest import ROOT, SMALL, RunCommand

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.partition("#")[0].strip()
]
# Run until Ctrl-C: tests/demo tests them.
SERVERS = [command for command in COMMANDS if command.startswith("fashion-mlp demo")]
TOOLS = [command for command in COMMANDS if command.startswith("fashion-mlp") and command not in SERVERS]
# tests/sweep tests them.
PARALLEL = [command for command in COMMANDS if "hydra/launcher=" in command]
TRAININGS = [command for command in COMMANDS if command.startswith("python train.py") and command not in PARALLEL]
# Commands in the comments of configuration files.
CONFIG_COMMANDS = [
    command.replace("\n#", "\n")
    for path in sorted((ROOT / "conf").rglob("*.yaml"))
    for command in re.findall(r"^#   ((?:python|for|srun|torchrun) (?:.*\\\n#)*.*)", path.read_text(), re.MULTILINE)
]


def test_all_other_commands_are_known() -> None:
    others = [command for command in COMMANDS if command not in TRAININGS + PARALLEL + TOOLS + SERVERS]
    assert TRAININGS
    assert TOOLS
    assert set(others) == {
        "python -m pip install -e . && python train.py",
        "python -m pip install -e '.[test]' && pytest",
        "tensorboard --logdir runs",
    }


@pytest.mark.parametrize("block", [*BLOCKS, *CONFIG_COMMANDS])
def test_block_is_valid_shell_syntax(block: str) -> None:
    done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", TRAININGS + PARALLEL + TOOLS)
def test_special_characters_are_quoted(command: str) -> None:
    assert not set(re.sub("'.*?'", "", command)) & set("[](){}*?"), "zsh would answer: no matches found"


@pytest.fixture
def custom_images(tmp_path: Path) -> None:
    """Write the image files that the README's commands name."""
    images, labels = draw_garments(40, seed=0)
    (tmp_path / "images").mkdir()
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        image = Image.fromarray(pixels)
        image.save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "folders" / str(label)).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "folders" / str(label) / f"{number}.png")
    image.save(tmp_path / "photo.jpg")
    lines = [f"{number}.png,{label}\n" for number, label in enumerate(labels)]
    (tmp_path / "labels.csv").write_text("".join(lines))


@pytest.mark.parametrize("command", TRAININGS)
@pytest.mark.usefixtures("custom_images")
def test_training_command_runs(command: str, run_small: RunCommand, run_in_process: RunCommand, tmp_path: Path) -> None:
    few_jobs = re.sub(r"range\(\d\)", "range(2)", command)
    arguments = shlex.split(few_jobs)[2:]
    if any(argument.startswith("data=image_") for argument in arguments):
        small = [override for override in SMALL if not override.startswith("data")]  # the keys of synthetic data
        done = run_in_process(*arguments, *small, "trainer.max_epochs=1", "logger=none")
    else:
        few_trials = ["hydra.sweeper.n_trials=2"] if "sweep=optuna" in arguments else []
        done = run_small(
            *arguments, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "logger=none", *few_trials
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.glob("runs/**/metrics.json")) or "--cfg" in command


@pytest.mark.usefixtures("custom_images")
def test_commands_on_a_checkpoint_run(run_small: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_range_test, "NUM_STEPS", 80)
    before = {path.name for path in tmp_path.iterdir()}
    assert run_small("trainer.max_epochs=1").returncode == 0
    for command in TOOLS:
        arguments = shlex.split(command)[1:]
        if arguments[0] in ("data", "lr-find"):  # Fashion-MNIST may not be available
            arguments += [
                "data=synthetic",
                "data.root=data",
                "data.train_size=100",
                "data.test_size=20",
                "data.val_size=10",
            ]
        assert main(arguments) == 0, command
    for name in ("lr.png", "plots/mistakes.png", "seen.png", "samples.png", "grid.png"):
        assert (tmp_path / name).is_file()
    created = {path.name for path in tmp_path.iterdir()} - before
    assert created == {"runs", "data", "lr.png", "plots", "seen.png", "samples.png", "grid.png"}


def test_tensorboard_finds_the_scalars_of_a_run(run_small: RunCommand, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_small("trainer.max_epochs=1", "logger=tensorboard").returncode == 0
    inspect("runs")  # as `tensorboard --logdir runs --inspect` does
    assert "val/acc" in capsys.readouterr().out


def test_continuous_integration_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.index("python -m pip install --quiet -e '.[test]'\n") < script.index("\npytest ")


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 220
    assert max(map(len, README.splitlines())) <= 110


@pytest.mark.slow
def test_parts_of_the_readme_are_used(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("src", "conf", "train.py"):
        copy = shutil.copy if name == "train.py" else shutil.copytree
        project.mkdir(exist_ok=True)
        copy(ROOT / name, project / name)
    blocks = "".join(re.findall(r"```(?:python|yaml)\n(# .*?)```", README, re.DOTALL))
    parts = re.split(r"^# ((?:src|conf)/[\w/]+\.(?:py|yaml)).*\n", blocks, flags=re.MULTILINE)[1:]
    for path, content in zip(parts[::2], parts[1::2], strict=True):
        (project / path).write_text(content)
    assert len(parts) == 10
    callback = re.search(r"(\+callbacks\.bell\.[\w.=]+)", README)
    assert callback is not None
    command = [sys.executable, "train.py", "model=tiny", "scheduler=warmup", callback[1], *SMALL[:5], *SMALL[6:]]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "training has ended" in done.stdout
    assert "Tiny" in done.stdout
