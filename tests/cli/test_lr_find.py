"""Tests of `fashion-mlp lr-find`."""

from pathlib import Path

import pytest
from PIL import Image

from fashion_mlp.cli import lr_range_test
from tests.cli.conftest import RunCLI
from tests.conftest import SMALL


@pytest.fixture(autouse=True)
def _fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take larger steps between the learning rates, for a shorter test."""
    monkeypatch.setattr(lr_range_test, "NUM_STEPS", 80)


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "optimizer=adamw",
            "scheduler=onecycle",
            "scheduler.pct_start=0.2",
            "logger=csv",
            "checkpoint.every_n_steps=1",
        ],
        [
            "optimizer=sgd",
            "class_weights=balanced",
            "data.balanced_sampling=true",
            "data.val_size=0",
            "cuda_graph=true",
        ],
        ["optimizer=rmsprop", "data.augment={hflip:0.5,mixup:0.2,off_fraction:0.5}", "trainer.devices=2"],
    ],
)
def test_suggestion_is_an_override_and_only_the_figure_is_written(
    run_cli: RunCLI, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    result = run_cli("lr-find", *SMALL, root, *overrides)
    assert (result.status, result.err) == (0, "saved lr_find.png\n")
    key, _, rate = result.out.strip().partition("=")
    assert key == "optimizer.lr"
    assert 1e-5 < float(rate) < 1
    assert [path.name for path in tmp_path.iterdir()] == ["lr_find.png"]
    with Image.open("lr_find.png") as figure:
        assert figure.width > 400
    monkeypatch.setattr("fashion_mlp.cli.commands.lr_find.save_figure", lambda *_: None)  # which takes most of the time
    assert run_cli("lr-find", result.out.strip(), *SMALL, root, *overrides).out == result.out


def test_images_of_your_own_have_a_suggestion(run_cli: RunCLI, image_dir: Path) -> None:
    arguments = ("data=image_csv", "data.img_dir=image_dir", "data.annotations_file=labels.csv", "data.val_size=0")
    result = run_cli("lr-find", *arguments, "data.test_size=0.2", "trainer=cpu", "--plot", "plots/curve.svg")
    assert result.status == 0
    assert result.out.startswith("optimizer.lr=")
    assert Path("plots/curve.svg").is_file()


def test_weights_of_a_checkpoint_are_the_initial_ones(
    run_cli: RunCLI, root: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fashion_mlp.cli.commands.lr_find.save_figure", lambda *_: None)
    small = [*SMALL, root, "optimizer=sgd"]
    first = run_cli("lr-find", *small)
    second = run_cli("lr-find", *small, f"ckpt_path={checkpoint}", "ckpt_restore=weights")
    assert first.out != second.out


def test_a_loss_that_never_falls_is_one_line(run_cli: RunCLI, root: str) -> None:
    result = run_cli("lr-find", *SMALL, root, "optimizer=sgd", "trainer.gradient_clip_val=1e-9")
    assert (result.status, result.out) == (1, "")
    assert result.err.splitlines() == [
        "saved lr_find.png",
        "error: lr-find: the loss falls at no learning rate. Check the data, the model and the optimizer",
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lrr=1"], "optimizer.lrr=1: no such key; did you mean optimizer.lr?"),
        (["optimizer=sgd,adam"], "optimizer=sgd,adam: several values without -m"),
        (["experiment=optimizers"], "experiment=optimizers: a sweep"),
        (["data.folds=5", "data.fold=7"], "data.fold=7: no such fold"),
    ],
)
def test_overrides_are_checked_as_those_of_a_run(run_cli: RunCLI, overrides: list[str], message: str) -> None:
    result = run_cli("lr-find", *overrides)
    assert result.status == 1
    assert result.err.startswith(f"error: {message}")
    assert len(result.err.splitlines()) == 1
