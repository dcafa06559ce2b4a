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
    step = Classifier.model_step

    def poisoned(self: Classifier, batch: object, number: int) -> object:
        loss, logits = step(self, batch, number)  # type: ignore[arg-type]
        return (loss * float("nan") if number == 14 else loss), logits

    monkeypatch.setattr(Classifier, "model_step", poisoned)
    done = run_here("scheduler=cosine", f"steps_per_execution={steps}", "logger=none")
    rate = RATE * (1 + math.cos(math.pi * 13 / (2 * STEPS))) / 2
    assert f"the loss is nan in epoch 2, step 14, at a learning rate of {rate:g} " in done.stderr


def test_a_run_that_starts_from_the_validation_at_the_end_of_an_epoch_continues_with_the_next(run_here: Run) -> None:
    """No step of the epoch is left, and its learning rate is that of the step before."""
    halves = "trainer.val_check_interval=0.5", "scheduler=step", "scheduler.step_size=1", "logger=none", "test=false"
    each = "callbacks.best_checkpoint.filename='{step}'", "+callbacks.best_checkpoint.save_top_k=-1"
    whole = run_here(*halves, *each, "trainer.max_epochs=3", "hydra.run.dir=a")
    done = run_here(*halves, "ckpt_path='a/checkpoints/step=20.ckpt'", "trainer.max_epochs=3", "hydra.run.dir=b")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [re.findall(r"^epoch [23]/3 .* lr \S+", each.stdout, re.MULTILINE) for each in (whole, done)]
    assert lines[0] == lines[1]
    assert [line.split()[-1] for line in lines[1]] == [f"{RATE / 2:.2e}", f"{RATE / 4:.2e}"]
