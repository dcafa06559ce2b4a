"""The line of an epoch shows what the epoch was trained with."""

import math
import re

import pytest

from fashion_mlp.classifier import Classifier
from tests.conftest import Run

RATE = 1e-3
STEPS = 10
"""Steps of an epoch."""


@pytest.mark.parametrize("steps", [1, 64])
@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (["scheduler=none"], [RATE, RATE, RATE]),
        (["scheduler=step", "scheduler.step_size=1"], [RATE, RATE / 2, RATE / 4]),
        (["scheduler=plateau", "scheduler.monitor=val/acc", "scheduler.patience=0"], [RATE, RATE, RATE / 10]),
        (
            ["scheduler=cosine"],
            [RATE * (1 + math.cos(math.pi * (STEPS * epoch - 1) / (3 * STEPS))) / 2 for epoch in (1, 2, 3)],
        ),
    ],
    ids=lambda value: str(value[0]),
)
def test_the_learning_rate_is_that_of_the_last_step(
    run_here: Run, monkeypatch: pytest.MonkeyPatch, schedule: list[str], rates: list[float], steps: int
) -> None:
    monkeypatch.setattr("fashion_mlp.schedulers.metric_direction", lambda name: "min")  # so that no epoch improves
    done = run_here(*schedule, "trainer.max_epochs=3", f"steps_per_execution={steps}", "logger=none", "test=false")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"lr (\S+)", done.stdout) == [f"{rate:.2e}" for rate in rates]


@pytest.mark.parametrize("steps", [1, 64])
def test_so_is_that_of_a_loss_that_is_not_finite(run_here: Run, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    step = Classifier.learn_from

    def poisoned(self: Classifier, batch: object, number: int) -> object:
        loss, logits = step(self, batch, number)  # type: ignore[arg-type]
        return (loss * float("nan") if number == 14 else loss), logits

    monkeypatch.setattr(Classifier, "learn_from", poisoned)
    done = run_here("scheduler=cosine", f"steps_per_execution={steps}", "logger=none")
    rate = RATE * (1 + math.cos(math.pi * 13 / (2 * STEPS))) / 2
    assert f"the loss became nan in epoch 2, step 14, at a learning rate of {rate:g} " in done.stderr
