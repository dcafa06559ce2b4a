"""Tests of loggers that need other packages, offline, and of metrics of one's own."""

from pathlib import Path

import pytest
from lightning_utilities.core.imports import RequirementCache

from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import Compose


@pytest.mark.slow
def test_each_run_in_a_process_has_its_own_wandb_run(compose_small: Compose) -> None:
    pytest.importorskip("wandb", reason="the extra [wandb] is not installed")
    for name in ("first", "second"):
        cfg = compose_small(name, "logger=wandb", "logger.wandb.offline=true", "trainer.max_epochs=1")
        train(cfg)
        (run,) = Path(cfg.run_dir, "wandb").glob("offline-run-*")
        assert next(run.glob("*.wandb")).stat().st_size > 0


def test_logger_that_is_not_installed_is_reported(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", RequirementCache("mlflow>=999"))
    with pytest.raises(UserError, match=r"^logger\.mlflow: .*pip install.*mlflow"):
        train(compose_small("run", "logger=mlflow"))


@pytest.mark.parametrize(
    ("name", "target", "error"),
    [
        (
            "ece",
            "MulticlassCalibrationError",
            "ece: lower is better in MulticlassCalibrationError. End its name in loss",
        ),
        (
            "f1_error",
            "MulticlassF1Score",
            "f1_error: higher is better in MulticlassF1Score. Choose a name that does not",
        ),
        ("matrix", "MulticlassConfusionMatrix", r"matrix: no number for probabilities \[N, 10\] and labels \[N\]: "),
        ("mine", "Mine", "mine: Error lo.*torchmetrics.classification.Mine"),
    ],
)
def test_metric_that_does_not_fit_is_refused(compose_small: Compose, name: str, target: str, error: str) -> None:
    with pytest.raises(UserError, match=rf"^metrics\.{error}"):
        train(compose_small("run", f"+metrics.{name}._target_=torchmetrics.classification.{target}"))
