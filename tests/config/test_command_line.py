"""Error messages appear together, before anything is created; the cases are in `tests/config/error_messages/`."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from fashion_mlp import __version__
from fashion_mlp.build.parts import to_container
from fashion_mlp.cli.main import main
from fashion_mlp.config.command_line import initialize_hydra, normalize
from fashion_mlp.config.overrides import search_space
from fashion_mlp.data import FashionMNISTDataModule
from fashion_mlp.runtime.errors import UserError
from tests.conftest import CONF, ROOT, RunCommand, check

VALID = [
    "",
    "optimizer=sgd optimizer.lr=0.1",
    "model=linear data=synthetic data.val_size=0",
    "model.hidden_sizes=[256,128] optimizer.lr=3e-4 data.batch_size=128 trainer.max_epochs=20",
    "model.hidden_sizes.0=7",
    "data.augment.hflip=0.5 data.augment.translate=1 data.augment.erasing=0.25 data.augment.mixup=0.2",
    "trainer.gradient_clip_val=0.5 trainer.limit_train_batches=0.1 trainer.max_time=00:00:01:00",
    "scheduler=plateau scheduler.monitor=train/loss data.val_size=0",
    "data=image_folder data.img_dir=. data.val_size=0.25",
    "data=image_csv data.annotations_file=pyproject.toml data.img_dir=.",
    "-m data=image_csv data.annotations_file=pyproject.toml data.img_dir=. data.batch_size=3,4",
    "experiment=quickstart seed=0",
    "~callbacks.progress_bar +callbacks.extra=null",
    "hydra.run.dir=somewhere",
    "--config-dir . optimizer=sgd",
    "-m optimizer=sgd,adam optimizer.lr=1e-2,1e-3 seed=range(3)",
    "sweep=optuna hydra.sweeper.n_trials=50 hydra.sweeper.n_jobs=2 hydra.sweep.dir=somewhere",
    "sweep=optuna optimizer=sgd,adam optimizer.lr=tag(log,interval(1e-3,1e-1)) model.width=choice(64,128)",
    "-m sweep=optuna model=linear model.hidden_sizes=[] experiment=fast",
    "seed=1,2 -m optimizer=sgd",
    "sweep=optuna data=image_folder data.img_dir=src data.val_img_dir=tests data.val_size=0",
    "sweep=optuna hydra.sweeper.n_trials=${hydra.sweeper.n_jobs}",
    "optimizer.lr=${label_smoothing} label_smoothing=0.1",
    "hydra.run.dir=runs/${optimizer.lr}",
    "+callbacks.best_checkpoint.save_top_k=3",
    "trainer.strategy={_target_:lightning.pytorch.strategies.DDPStrategy}",
    "--help",
]


@pytest.mark.parametrize("typed", VALID)
def test_valid_command_line_is_accepted(typed: str, compose_once: None) -> None:
    check(normalize(typed.split()))


def test_all_mistakes_are_reported_together() -> None:
    typed = "data.batch_size=0 model.dropout=1.5 optimizer.lr=-1 model.activation=rleu seed"
    with pytest.raises(UserError) as caught:
        check(normalize(typed.split()))
    assert len(str(caught.value).splitlines()) == 5
    with pytest.raises(UserError, match="and 2 more"):
        check([*typed.split(), "sed=1"])


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("hydra.run.dir", "not a valid path .*File name too long"),
        ("ckpt_path", "no such file"),
        ("callbacks.best_checkpoint.dirpath", "not a valid path .*File name too long"),
    ],
)
def test_a_path_of_thousands_of_characters_is_refused(key: str, problem: str) -> None:
    with pytest.raises(UserError, match=rf"^{key}=x+: {problem}"):
        check([f"{key}={'x' * 5000}"])


PATHS = (
    "data.root",
    "data.img_dir",
    "ckpt_path",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "callbacks.learning_curves.path",
    "resume",
)
NAMES = ("a(b)", "a&b", "a=b", "it's", 'a"b', "a b/é中", "a;b", "a#b[1]", "a{b", "a&b\\", "a*?!")


@pytest.mark.parametrize("key", PATHS)
def test_a_path_may_contain_any_character_except_a_comma(key: str) -> None:
    for name in NAMES:
        (text,) = normalize([f"{key}={name}"])
        assert OverridesParser.create().parse_override(text).value() == name
        assert normalize([text]) == [text]


def test_only_a_value_that_cannot_be_parsed_is_quoted() -> None:
    typed = [
        "seed=1,2",
        "data.root=null",
        "data.root=a b",
        "a=[1;2]",
        "a=choice(b&c)",
        "~callbacks",
        "é=1",
        "a='b'",
        "x",
    ]
    assert normalize(typed) == typed


@pytest.mark.parametrize("typed", ["model.hidden_sizes=(256,128)", "data.img_dir=a(b),c", "seed=[1;2]"])
def test_the_suggested_text_can_be_typed(typed: str) -> None:
    with pytest.raises(UserError, match=r"^\S+: cannot be parsed") as caught:
        check([typed])
    (suggestion,) = shlex.split(str(caught.value).partition("; as text, type ")[2])
    assert OverridesParser.create().parse_override(suggestion).value() == typed.partition("=")[2]


def test_the_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert normalize(["data.root=~/x", "data.root='~'"]) == [
        f'data.root="{tmp_path}/home/x"', f'data.root="{tmp_path}/home"',
    ]  # fmt: skip
    assert to_container(OmegaConf.create({"root": "~/x", "mirrors": ["https://a//b~"]})) == {
        "root": f"{tmp_path}/home/x", "mirrors": ["https://a//b~"],
    }  # fmt: skip
    monkeypatch.setenv("FASHION_MLP_DATA", "~/data")
    assert FashionMNISTDataModule().directory == tmp_path / "home/data/FashionMNIST/raw"
    monkeypatch.setattr("fashion_mlp.config.command_line.CONF", tmp_path / "conf")
    shutil.copytree(CONF, tmp_path / "conf")
    preset = tmp_path / "conf" / "train.yaml"
    preset.write_text(preset.read_text().replace("    dir: runs/", "    dir: ~/runs/"))
    check(["data=synthetic"])
    with pytest.raises(UserError, match=rf"Type hydra.sweep.dir={tmp_path}/home/runs/.*-sweep$"):
        check(["-m", "seed=1,2"])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (normalize, main):
        with pytest.raises(SystemExit) as caught:
            show(["--version"])
        assert (caught.value.code, capsys.readouterr().out) == (0, f"fashion-mlp {__version__}\n")


def test_a_mistyped_key_is_refused_with_help(run_in_process: RunCommand) -> None:
    done = run_in_process("--help", "optimizer.lrr=1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Could not override 'optimizer.lrr'.")
    assert len(done.stderr.splitlines()) == 1


def test_a_search_varies_only_keys_that_the_configuration_has(tmp_path: Path) -> None:
    for name in ("model", "optimizer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.yaml").write_text("_target_: mine.Mine\nwidth: 8\n")
    with initialize_hydra(config_dir=str(tmp_path)):
        cfg = compose("train", overrides=["sweep=optuna", "model=mine", "optimizer=mine"], return_hydra_config=True)
    found, missing = search_space(cfg)
    assert found == ["data.batch_size=choice(64, 128, 256, 512)"]
    assert missing == ["optimizer.lr", "model.width", "model.depth", "model.dropout"]
    check(["--config-dir", str(tmp_path), "sweep=optuna", "model=mine", "model.width=choice(0.5,2)"])


def test_invalid_yaml_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("seed: 1\n  optimizer: 2\n")
    with pytest.raises(UserError, match=r"^experiment=mine: mapping values .* in \"\S+/mine.yaml\", line 2"):
        check(["--config-dir", str(tmp_path), "experiment=mine"])


def test_only_the_first_rank_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()  # created by the first rank
    monkeypatch.setenv("LOCAL_RANK", "1")
    check([f"hydra.run.dir={tmp_path}"])


def test_errors_of_a_process(run_in_new_process: RunCommand, tmp_path: Path) -> None:
    done = run_in_new_process("optimizer.lr=-1", "model.activation=rleu")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: model.activation=rleu: invalid value. "
        "Expected elu, gelu, leaky_relu, relu, selu, sigmoid, silu or tanh; did you mean relu?",
        "error: optimizer.lr=-1: invalid value. Expected a number greater than 0",
    ]
    assert list(tmp_path.iterdir()) == []
    with_traceback = run_in_new_process("optimizer.lr=-1", HYDRA_FULL_ERROR="1")
    assert with_traceback.returncode == 1
    assert "Traceback" in with_traceback.stderr


def test_torch_is_not_imported_without_a_run(tmp_path: Path) -> None:
    program = """
import contextlib, runpy, sys
train, *commands = sys.argv[1:]
for command in commands:
    sys.argv = [train, *command.split()]
    with contextlib.suppress(SystemExit):
        runpy.run_path(train, run_name="__main__")
    print("imported", *sorted({"hydra", "torch", "lightning", "numpy"} & sys.modules.keys()))
"""
    commands = "--help", "--cfg job", "optimizer.lrr=1"
    process = [sys.executable, "-c", program, str(ROOT / "train.py"), *commands]
    done = subprocess.run(process, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.findall("^imported.*", done.stdout, re.MULTILINE) == ["imported hydra"] * 3
