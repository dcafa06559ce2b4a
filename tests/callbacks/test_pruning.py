"""Tests of the pruning of trials."""

from pathlib import Path
from typing import Any

import pytest

from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import Compose, Run

optuna = pytest.importorskip("optuna", reason="the extra [sweep] is not installed")

from fashion_mlp.callbacks.pruning import Pruning  # noqa: E402
from fashion_mlp.sweep.optuna.study import ATTEMPT, PRUNED, open_study  # noqa: E402


@pytest.fixture
def study(tmp_path: Path) -> Any:
    return open_study(f"sqlite:///{tmp_path}/study.db", "search", "median")


def fill(study: Any, accuracy: float) -> None:
    """Add five complete trials, which the median pruner requires, and a running sixth trial."""
    for _ in range(5):
        trial = study.ask()
        for epoch in range(1, 5):
            trial.report(accuracy, epoch)
        study.tell(trial, accuracy)
    study.ask().set_user_attr(ATTEMPT, 1)


def overrides(tmp_path: Path, pruner: str) -> list[str]:
    pruning = f"storage:'sqlite:///{tmp_path}/study.db',study_name:search,number:5,pruner:{pruner}"
    return [
        f"+callbacks.pruning={{_target_:fashion_mlp.callbacks.pruning.Pruning,{pruning}}}",
        "trainer.max_epochs=4",
        "test=false",
        "logger=none",
    ]


@pytest.mark.parametrize(
    ("accuracy", "pruner", "epochs"), [(1.0, "median", 1), (0.0, "median", 4), (1.0, "none", 4)], ids=str
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
    assert trial.user_attrs.get(PRUNED, False) == (epochs == 1)


def test_epochs_of_a_killed_attempt_are_ignored(tmp_path: Path, study: Any) -> None:
    fill(study, 0.5)
    trial = Pruning(f"sqlite:///{tmp_path}/study.db", "search", 5, "median")
    trial.find_trial()
    trial.report(3, 0.9)
    trial.report(1, 0.4)
    assert trial.is_hopeless(1)
    assert not trial.is_hopeless(3)


def test_run_of_a_killed_search_ends_if_its_trial_runs_again(tmp_path: Path, study: Any) -> None:
    fill(study, 0.5)
    trial = Pruning(f"sqlite:///{tmp_path}/study.db", "search", 5, "median")
    trial.find_trial()
    study._storage.set_trial_user_attr(study.trials[5]._trial_id, ATTEMPT, 2)
    with pytest.raises(UserError, match="another process has taken it up again"):
        trial.report(1, 0.4)
