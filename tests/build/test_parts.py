"""Tests of loggers that need other packages, offline."""

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
