"""A figure costs no result: it is drawn when all else is saved, and one that fails is left out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from fashion_mlp.reporting import figures
from fashion_mlp.training import train
from tests.conftest import Compose

PICTURES = ("confusion_matrix.png", "curves.png", "mistakes.png", "predictions.png")


@pytest.fixture
def compose_with_figures(compose_small: Compose) -> Callable[..., DictConfig]:
    return lambda *overrides: compose_small("run", "callbacks=default", "trainer.max_epochs=1", *overrides)


def test_the_results_are_written_before_the_figures(
    compose_with_figures: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_with_figures("logger=none")
    draw, had_results = figures._write, []

    def watched(*arguments: Any, **options: Any) -> None:
        had_results.append(Path(cfg.run_dir, "metrics.json").is_file())
        draw(*arguments, **options)

    monkeypatch.setattr(figures, "_write", watched)
    train(cfg)
    assert had_results == [True] * 4
    assert {path.name for path in Path(cfg.run_dir).glob("*.png")} == set(PICTURES)


@pytest.mark.parametrize("function", ["confusion_matrix", "curves", "predictions"])
def test_a_figure_that_fails_is_left_out(
    compose_with_figures: Callable[..., DictConfig],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    function: str,
) -> None:
    def fails(*arguments: object) -> None:
        raise MemoryError("8 GB\nand more")

    monkeypatch.setattr(figures, function, fails)
    cfg = compose_with_figures("callbacks.evaluation_figures.every_n_epochs=1")
    train(cfg)
    assert "test/acc" in json.loads(Path(cfg.run_dir, "metrics.json").read_text())
    left_out = {
        "confusion_matrix": ["val/confusion_matrix", "test/confusion_matrix"],
        "curves": ["curves.png"],
        "predictions": ["predictions.png", "val/mistakes", "test/mistakes"],
    }[function]
    reported = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sorted(reported) == sorted(f"{name}: left out (MemoryError: 8 GB)" for name in left_out)
    drawn = {name for name in PICTURES if not any(Path(name).stem in place for place in left_out)}
    assert {path.name for path in Path(cfg.run_dir).glob("*.png")} == drawn


def test_more_classes_than_can_be_shown_have_no_confusion_matrix(
    compose_with_figures: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MAX_MATRIX_CLASSES", 9)
    cfg = compose_with_figures("logger=none")
    train(cfg)
    assert {path.name for path in Path(cfg.run_dir).glob("*.png")} == {*PICTURES} - {"confusion_matrix.png"}
