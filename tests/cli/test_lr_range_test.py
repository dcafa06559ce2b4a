"""Tests of the learning-rate range test: its rates, its end and its suggestion."""

import math
from itertools import count

import pytest
import torch

from fashion_mlp.classifier import Classifier
from fashion_mlp.cli import lr_range_test
from fashion_mlp.cli.lr_range_test import (
    DIVERGENCE,
    MAX_RATE,
    MIN_RATE,
    NUM_STEPS,
    measure_losses,
    smooth,
    suggest_rate,
)
from tests.conftest import Compose


def losses_of(*values: float) -> dict[float, float]:
    """Return losses at rates of 1, 2, ..."""
    return dict(enumerate(map(float, values), start=1))


def test_suggestion_is_where_the_loss_has_almost_fallen() -> None:
    falling = [2.5] * 50 + [2.5 - 0.02 * step for step in range(100)] + [0.5] * 50
    suggestion = suggest_rate(losses_of(*falling, 1.0, 2.0, 4.0))
    assert suggestion is not None
    assert 140 < suggestion < 150


def test_suggestion_does_not_follow_single_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = (0.1 * torch.randn(NUM_STEPS, generator=generator)).tolist()
    falling = [2.5 - 2 / (1 + math.exp((100 - step) / 10)) + noise[step] for step in range(NUM_STEPS)]
    suggestion = suggest_rate(losses_of(*falling))
    assert suggestion is not None
    assert 110 < suggestion < 150
    assert suggest_rate(losses_of(*(2.5 + value for value in noise))) is None


@pytest.mark.parametrize("values", [(), (2.0,), (2.0,) * 50, tuple(range(2, 50))])
def test_there_is_no_suggestion_if_the_loss_does_not_fall(values: tuple[float, ...]) -> None:
    assert suggest_rate(losses_of(*values)) is None


def test_smoothing_keeps_a_constant_and_does_not_lag() -> None:
    assert smooth([2.0] * 20).tolist() == pytest.approx([2.0] * 20)
    step = smooth([1.0] * 50 + [0.0] * 50)
    assert step[49:51].mean() == pytest.approx(0.5, abs=0.01)


@pytest.fixture
def num_steps(monkeypatch: pytest.MonkeyPatch) -> int:
    """Take larger steps between the learning rates, for a shorter test, and return their number."""
    monkeypatch.setattr(lr_range_test, "NUM_STEPS", 80)
    return 80


def test_rates_rise_exponentially_and_the_same_command_has_the_same_losses(
    compose_small: Compose, num_steps: int
) -> None:
    cfg = compose_small("run", "optimizer=sgd", "trainer.gradient_clip_val=1e-9", "cuda_graph=true")
    losses = measure_losses(cfg)
    rates = list(losses)
    assert len(rates) == num_steps
    assert (rates[0], rates[-1]) == pytest.approx((MIN_RATE, MAX_RATE))
    assert rates[1] / rates[0] == pytest.approx(rates[-1] / rates[-2])
    assert measure_losses(cfg) == losses


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e6])
def test_a_diverging_loss_ends_the_test(compose_small: Compose, monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    steps, compute = count(1), Classifier.compute_training_loss

    def diverge(*arguments: object) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = compute(*arguments)  # type: ignore[arg-type]
        return (loss * bad if next(steps) >= 30 else loss), logits

    monkeypatch.setattr(Classifier, "compute_training_loss", diverge)
    losses = list(measure_losses(compose_small("run")).values())
    assert next(steps) == 31
    assert len(losses) == 29
    assert max(losses) < DIVERGENCE * losses[0]


@pytest.mark.usefixtures("num_steps")
def test_optimizer_steps_have_the_accumulated_batches_and_no_schedule(compose_small: Compose) -> None:
    losses = measure_losses(compose_small("run", "scheduler=onecycle", "trainer.accumulate_grad_batches=2"))
    ratios = [second / first for first, second in zip(losses, list(losses)[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
