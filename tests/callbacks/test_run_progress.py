"""Tests of the learning rate in the line of an epoch."""

import math
import re

import pytest

from fashion_mlp.training import train
from tests.conftest import Compose, RunCommand

RATE = 1e-3
# Of an epoch.
STEPS = 10


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
def test_learning_rate_is_that_of_the_last_step(
    compose_small: Compose,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    schedule: list[str],
    rates: list[float],
    steps: int,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("fashion_mlp.schedulers.metric_direction", lambda name: "min")  # no epoch improves
    train(compose_small("run", *schedule, "trainer.max_epochs=3", f"steps_per_execution={steps}"))
    assert re.findall(r"lr (\S+)", caplog.text) == [f"{rate:.2e}" for rate in rates]


def test_run_continued_from_the_last_validation_of_an_epoch_starts_the_next_epoch(run_small: RunCommand) -> None:
    common = ("trainer.val_check_interval=0.5", "scheduler=step", "scheduler.step_size=1")
    save_all = "callbacks.best_checkpoint.filename='{step}'", "+callbacks.best_checkpoint.save_top_k=-1"
    whole = run_small(*common, *save_all, "trainer.max_epochs=3", "hydra.run.dir=a")
    done = run_small(*common, "ckpt_path='a/checkpoints/step=20.ckpt'", "trainer.max_epochs=3", "hydra.run.dir=b")
    assert (done.returncode, done.stderr) == (0, "")
    expected, lines = (re.findall(r"^epoch [23]/3 .* lr \S+", run.stdout, re.MULTILINE) for run in (whole, done))
    assert lines == expected
    assert [line.split()[-1] for line in lines] == [f"{RATE / 2:.2e}", f"{RATE / 4:.2e}"]
