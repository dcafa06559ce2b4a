"""What a search says: a line a trial, and at its end a command to paste."""

import shlex
from collections import Counter
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from fashion_mlp.monitoring import OBJECTIVES
from fashion_mlp.search.study import ERROR

ENDS = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def trial_line(trial: FrozenTrial, best: FrozenTrial | None, searched: Sequence[str]) -> str:
    """Return how a trial ended, the best until now, and what the trial ran with."""
    parts = [
        f"trial {trial.number:>3}   {_result(trial):<25}",
        f"best {best.value:.4f} (trial {best.number})" if best else "no best yet",
        " ".join(searched),
    ]
    if ERROR in trial.user_attrs:
        parts.append(trial.user_attrs[ERROR])
    return "   ".join(parts)


def found(finished: int, interrupted: Sequence[FrozenTrial]) -> str:
    """Return where a search goes on."""
    numbers = ", ".join(str(trial.number) for trial in interrupted)
    return f"found     {finished} finished" + (f"; begun and interrupted: {numbers}" if numbers else "")


def _result(trial: FrozenTrial) -> str:
    if trial.state == TrialState.PRUNED:
        return f"pruned, {trial.value:.4f} at epoch {trial.last_step}"
    return f"{OBJECTIVES[0]} {trial.value:.4f}" if trial.state == TrialState.COMPLETE else "failed"


def counts(trials: Sequence[FrozenTrial]) -> str:
    """Return how many trials ended in which way."""
    states = Counter(trial.state for trial in trials)
    return ", ".join(f"{states[state]} {word}" for state, word in ENDS.items())


def command(overrides: Sequence[str]) -> str:
    """Return a command line to paste into a shell."""
    return shlex.join(["python", "train.py", *overrides])
