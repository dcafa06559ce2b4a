"""Tests that figures are drawn, and that a failing figure is skipped."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from fashion_mlp.reporting import figures
from fashion_mlp.training import train
from tests.conftest import Compose, Run

FIGURES = ("confusion_matrix.png", "curves.png", "mistakes.png", "predictions.png")


@pytest.fixture
def compose_with_figures(compose_small: Compose) -> Callable[..., DictConfig]:
    """Return a function that composes a run of one epoch with the default callbacks: `compose_with_figures(...)`."""
    small = "test=true", "callbacks=default", "callbacks.evaluation_figures.count=2", "trainer.max_epochs=1"
    return lambda *overrides: compose_small("run", *small, *overrides)


@pytest.mark.parametrize("functions", [("confusion_matrix", "curves"), ("predictions",)], ids=" and ".join)
def test_failing_figure_is_skipped_with_a_warning(
    compose_with_figures: Callable[..., DictConfig],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    functions: tuple[str, ...],
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("8 GB\nand more")

    for function in functions:
        monkeypatch.setattr(figures, function, fail)
    cfg = compose_with_figures("callbacks.evaluation_figures.every_n_epochs=1", "logger=tensorboard")
    train(cfg)
    assert "test/acc" in Run(cfg.run_dir).metrics
    names = {
        "confusion_matrix": ["val/confusion_matrix", "test/confusion_matrix"],
        "curves": ["curves.png"],
        "predictions": ["val/predictions", "val/mistakes", "test/predictions", "test/mistakes"],
    }
    skipped = [name for function in functions for name in names[function]]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sorted(warnings) == sorted(f"{name}: left out (MemoryError: 8 GB)" for name in skipped)
    drawn = {name for name in FIGURES if not any(Path(name).stem in figure for figure in skipped)}
    assert {path.name for path in Path(cfg.run_dir).glob("*.png")} == drawn


def test_confusion_matrix_is_skipped_for_too_many_classes(
    compose_with_figures: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MAX_MATRIX_CLASSES", 9)
    cfg = compose_with_figures()
    train(cfg)
    assert {path.name for path in Path(cfg.run_dir).glob("*.png")} == {*FIGURES} - {"confusion_matrix.png"}
