"""Each schedule moves the rate as its name says."""

from functools import partial

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fashion_mlp import schedulers
from fashion_mlp.schedulers import Schedule


def rates(schedule: Schedule, steps: int = 10, metric: float | None = None) -> list[float]:
    optimizer: Optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule(optimizer, steps)["scheduler"]
    seen = []
    for _ in range(steps):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step(*(() if metric is None else (metric,)))
    return [*seen, float(optimizer.param_groups[0]["lr"])]


def test_cosine_falls_from_the_rate_to_the_minimum() -> None:
    seen = rates(partial(schedulers.cosine, min_lr=0.1))
    assert seen == sorted(seen, reverse=True)
    assert [seen[0], seen[5], seen[-1]] == pytest.approx([1.0, 0.55, 0.1])


def test_onecycle_rises_and_falls() -> None:
    seen = rates(partial(schedulers.onecycle, pct_start=0.3, div_factor=10.0, final_div_factor=100.0), steps=11)
    peak = seen.index(max(seen))
    assert max(seen) == pytest.approx(1.0, abs=0.05)
    assert seen[: peak + 1] == sorted(seen[: peak + 1])
    assert [seen[0], seen[10]] == pytest.approx([0.1, 0.001])


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/acc", "max")])
def test_plateau_waits_for_its_patience(monitor: str, mode: str) -> None:
    schedule = partial(schedulers.plateau, monitor=monitor, factor=0.5, patience=2)
    assert rates(schedule, steps=4, metric=1.0) == [1.0, 1.0, 1.0, 1.0, 0.5]
    config = schedule(SGD([torch.zeros(1, requires_grad=True)], lr=1.0), 1)
    assert config["monitor"] == monitor
    assert isinstance(config["scheduler"], ReduceLROnPlateau)
    assert config["scheduler"].mode == mode


def test_step_multiplies_at_its_epochs() -> None:
    assert rates(partial(schedulers.step, step_size=2, gamma=0.1), steps=4) == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_intervals() -> None:
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    factories: dict[str, Schedule] = {
        name: getattr(schedulers, name) for name in ("cosine", "onecycle", "plateau", "step")
    }
    intervals = {name: factory(optimizer, 5)["interval"] for name, factory in factories.items()}
    assert intervals == {"cosine": "step", "onecycle": "step", "plateau": "epoch", "step": "epoch"}
