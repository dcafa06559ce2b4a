"""Tests of the learning-rate schedules."""

from functools import partial

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fashion_mlp import schedulers
from fashion_mlp.schedulers import SchedulerFactory


def learning_rates(schedule: SchedulerFactory, steps: int = 10, metric: float | None = None) -> list[float]:
    """Return the learning rate of each step and the one after the last step."""
    optimizer: Optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule(optimizer, steps)["scheduler"]
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step(*(() if metric is None else (metric,)))
    return [*rates, float(optimizer.param_groups[0]["lr"])]


def test_cosine_falls_from_the_initial_to_the_minimal_rate() -> None:
    rates = learning_rates(partial(schedulers.cosine, min_lr=0.1))
    assert rates == sorted(rates, reverse=True)
    assert [rates[0], rates[5], rates[-1]] == pytest.approx([1.0, 0.55, 0.1])


def test_onecycle_rises_and_falls() -> None:
    rates = learning_rates(
        partial(schedulers.onecycle, pct_start=0.3, div_factor=10.0, final_div_factor=100.0), steps=11
    )
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert [rates[0], rates[10]] == pytest.approx([0.1, 0.001])


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/acc", "max")])
def test_plateau_reduces_the_rate_after_its_patience(monitor: str, mode: str) -> None:
    schedule = partial(schedulers.plateau, monitor=monitor, factor=0.5, patience=2)
    assert learning_rates(schedule, steps=4, metric=1.0) == [1.0, 1.0, 1.0, 1.0, 0.5]
    config = schedule(SGD([torch.zeros(1, requires_grad=True)], lr=1.0), 1)
    assert config["monitor"] == monitor
    assert isinstance(config["scheduler"], ReduceLROnPlateau)
    assert config["scheduler"].mode == mode


def test_step_multiplies_the_rate_by_gamma() -> None:
    assert learning_rates(partial(schedulers.step, step_size=2, gamma=0.1), steps=4) == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )


def test_schedules_step_after_each_step_or_epoch() -> None:
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    factories: dict[str, SchedulerFactory] = {
        name: getattr(schedulers, name) for name in ("cosine", "onecycle", "plateau", "step")
    }
    intervals = {name: factory(optimizer, 5)["interval"] for name, factory in factories.items()}
    assert intervals == {"cosine": "step", "onecycle": "step", "plateau": "epoch", "step": "epoch"}
