"""Tests of the pruning of trials."""

from pathlib import Path
from typing import Any

import pytest

from fashion_mlp.training import train
from tests.conftest import Compose, Run

optuna = pytest.importorskip("optuna", reason="the extra [sweep] is not installed")

from fashion_mlp.sweep.optuna.loop import open_storage, open_study  # noqa: E402


@pytest.fixture
def study(tmp_path: Path) -> Any:
    return open_study(open_storage(tmp_path), "median", "val/acc")


def fill(study: Any, accuracy: float) -> None:
    """Add five complete trials, which the median pruner requires, and a running sixth trial."""
    for _ in range(5):
        trial = study.ask()
        for epoch in range(1, 4):
            trial.report(accuracy, epoch)
        study.tell(trial, accuracy)
    study.ask()


def overrides(tmp_path: Path, pruner: str, number: int = 5) -> list[str]:
    pruning = f"sweep_dir:{tmp_path},number:{number},pruner:{pruner},objective:val/acc"
    return [
        f"+callbacks.pruning={{_target_:fashion_mlp.sweep.optuna.pruning.Pruning,{pruning}}}",
        "trainer.max_epochs=3",
    ]


@pytest.mark.parametrize(
    ("accuracy", "pruner", "epochs"), [(1.0, "median", 1), (0.0, "median", 3), (1.0, "none", 3)], ids=str
)
def test_run_ends_early_if_it_is_worse_than_earlier_trials(
    compose_small: Compose, tmp_path: Path, study: Any, accuracy: float, pruner: str, epochs: int
) -> None:
    fill(study, accuracy)
    cfg = compose_small("run", *overrides(tmp_path, pruner))
    objective = train(cfg)
    run = Run(cfg.run_dir)
    metrics = run.metrics
    assert metrics["epochs"] == epochs
    assert metrics["val/acc"] == pytest.approx(objective, abs=1e-6)
    assert not [name for name in metrics if name.startswith("test/")]
    assert (run.dir / "checkpoints/best.ckpt").exists()
    trial = study.trials[5]
    assert list(trial.intermediate_values) == list(range(1, epochs + 1))
    assert max(trial.intermediate_values.values()) == pytest.approx(objective)
    assert (trial.state.name, trial.value) == (
        ("PRUNED", pytest.approx(objective)) if epochs == 1 else ("RUNNING", None)
    )


def test_resumed_trial_reports_only_epochs_after_the_interruption(
    compose_small: Compose, tmp_path: Path, study: Any
) -> None:
    fill(study, 0.0)
    study.tell(study.ask(), 0.5)
    trial = study.ask()
    trial.report(0.25, 1)
    trial.report(0.5, 2)
    cfg = compose_small("run", *overrides(tmp_path, "median", number=trial.number))
    train(cfg)
    values = study.trials[trial.number].intermediate_values
    assert list(values) == [1, 2, 3]
    assert (values[1], values[2]) == (0.25, 0.5)
