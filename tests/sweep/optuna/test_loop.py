"""A search, new or resumed, from its first trial to its best configuration, with a fake launcher."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from fashion_mlp.config.schema import SearchConfig
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.sweep.job import save_error
from tests.conftest import CONF

optuna = pytest.importorskip("optuna", reason="the extra [sweep] is not installed")

from fashion_mlp.sweep.optuna.loop import PRUNERS, open_storage, open_trial, search  # noqa: E402

Result = float | BaseException


class FakeLauncher(Launcher):
    """Records the jobs that it is to run, and returns given results."""

    def __init__(self, result: Callable[[int], Result], directory: Path) -> None:
        self.result = result
        self.directory = directory
        self.launched: list[tuple[int, Sequence[str]]] = []

    def setup(self, **_: Any) -> None:
        pass

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        returns = []
        for overrides in job_overrides:
            number = int(overrides[-1].removeprefix("hydra.sweep.subdir="))
            self.launched.append((number, overrides))
            result = self.result(number)
            if isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result  # ends the process
            if isinstance(result, Exception):
                save_error(self.directory / str(number), overrides, result)
                result = math.nan
            returns.append(JobReturn(status=JobStatus.COMPLETED))
            returns[-1].return_value = result
        return returns


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., FakeLauncher]:
    """Return a function that starts a search with a fake launcher, or resumes it when called again."""

    def searched(result: Callable[[int], Result], *typed: str, name: str = "sweep", **settings: Any) -> FakeLauncher:
        given = [f"hydra.sweeper.{key}={value}" for key, value in settings.items()]
        hydra_overrides = [f"hydra.sweep.dir={tmp_path / name}", "hydra.job.name=train", *given]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", ["sweep=optuna", *hydra_overrides], return_hydra_config=True)
        launcher = FakeLauncher(result, tmp_path / name)
        search(config, ["sweep=optuna", *typed], launcher, None)  # type: ignore[arg-type]  # no globs here
        return launcher

    return searched


def trials(directory: Path) -> list[Any]:
    stored = optuna.load_study(study_name="fashion-mlp", storage=open_storage(directory)).trials
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in stored]


def value(number: int) -> float:
    """Return an accuracy that is different for each trial, and best for trial 3."""
    return 0.8 - 0.01 * abs(number - 3)


def stopped_at(number: int, result: Callable[[int], Result] = value) -> Callable[[int], Result]:
    return lambda asked: KeyboardInterrupt() if asked == number else result(asked)


def test_each_trial_is_a_line_and_the_best_a_command(
    run: Callable[..., FakeLauncher], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    launcher = run(value, "seed=7", n_trials=5)
    lines = caplog.messages
    assert [line.split()[:2] for line in lines[1:6]] == [["trial", str(number)] for number in range(5)]
    assert "val/acc 0.8000" in lines[4]
    assert "best 0.8000 (trial 3)" in lines[5]
    assert lines[6:8] == ["trials    5 complete, 0 pruned, 0 failed", f"best      val/acc 0.8000, {tmp_path}/sweep/3"]
    number, overrides = launcher.launched[3]
    assert number == 3
    assert overrides[-1] == "hydra.sweep.subdir=3"
    assert [name.partition("=")[0] for name in overrides[:-1]] == [
        "sweep",
        "seed",
        "optimizer.lr",
        "model.dropout",
        "data.batch_size",
        "model.hidden_sizes",
    ]
    quoted = [f"'{text}'" if "[" in text else text for text in overrides[1:-1]]
    assert lines[8] == " ".join(["python", "train.py", *quoted])


def test_a_resumed_search_equals_an_uninterrupted_one(run: Callable[..., FakeLauncher], tmp_path: Path) -> None:
    whole = run(value, name="whole", n_trials=12)
    expected = trials(tmp_path / "whole")
    assert len({str(params) for _, _, params, _ in expected}) == 12
    for stop in (1, 11):
        name = f"stopped_at_{stop}"
        with pytest.raises(KeyboardInterrupt):
            run(stopped_at(stop), name=name, n_trials=12)
        rest = run(value, name=name, n_trials=12)
        assert rest.launched == whole.launched[stop:]
        assert trials(tmp_path / name) == expected


def test_an_interrupted_batch_is_completed_first(run: Callable[..., FakeLauncher], tmp_path: Path) -> None:
    def better(number: int) -> float:
        return number / 100  # so that each result changes the next batch

    whole = run(better, name="whole", n_trials=8, n_jobs=3)
    for stop in (3, 5):
        name = f"stopped_at_{stop}"
        with pytest.raises(KeyboardInterrupt):
            run(stopped_at(stop, better), name=name, n_trials=8, n_jobs=3)
        rest = run(better, name=name, n_trials=8, n_jobs=3)
        assert rest.launched == whole.launched[3:]
        assert trials(tmp_path / name) == trials(tmp_path / "whole")


def test_a_trial_that_was_interrupted_while_it_was_drawn_is_replaced(
    run: Callable[..., FakeLauncher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        sample = optuna.samplers.TPESampler.sample_independent

        def interrupt(self: Any, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            if (trial.number, name) == (1, "model.dropout"):
                raise KeyboardInterrupt
            return sample(self, study, trial, name, distribution)

        patch.setattr(optuna.samplers.TPESampler, "sample_independent", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(value, n_trials=3)
    run(value, n_trials=3)
    assert [state for _, state, *_ in trials(tmp_path / "sweep")] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_a_trial_whose_job_still_runs_is_not_started_again(run: Callable[..., FakeLauncher], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(stopped_at(1), n_trials=2)
    (tmp_path / "sweep" / "1").mkdir()
    with FileLock(tmp_path / "sweep" / "1" / ".lock"), pytest.raises(UserError, match=r"/1: in use by another process"):
        run(value, n_trials=2)


def test_trials_are_added_and_none_is_repeated(run: Callable[..., FakeLauncher], tmp_path: Path) -> None:
    run(value, n_trials=2)
    assert [number for number, _ in run(value, n_trials=3).launched] == [2]
    assert run(value, n_trials=3).launched == []
    assert [state for _, state, *_ in trials(tmp_path / "sweep")] == ["COMPLETE"] * 3


def test_a_failed_trial_does_not_end_the_search(
    run: Callable[..., FakeLauncher], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    failures: dict[int, Result] = {0: UserError("the loss became nan"), 1: RuntimeError("out of memory")}
    run(lambda number: failures.get(number, value(number)), n_trials=4)
    assert [state for _, state, *_ in trials(tmp_path / "sweep")] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    (line,) = (line for line in caplog.messages if line.startswith("trial   0"))
    assert "failed" in line
    assert line.endswith("the loss became nan")
    assert any(line.endswith("RuntimeError: out of memory") for line in caplog.messages)
    assert "trials    2 complete, 0 pruned, 2 failed" in caplog.messages


def test_a_pruned_trial_is_never_the_best(
    run: Callable[..., FakeLauncher], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def prune(number: int) -> Result:
        if number == 1:  # as the callback does
            trial = open_trial(open_storage(tmp_path / "sweep"), "median", number)
            trial.report(0.99, step=2)
            trial.study.tell(number, state=optuna.trial.TrialState.PRUNED)
        return value(number)

    run(prune, n_trials=3)
    assert [state for _, state, *_ in trials(tmp_path / "sweep")] == ["COMPLETE", "PRUNED", "COMPLETE"]
    (line,) = (line for line in caplog.messages if line.startswith("trial   1"))
    assert "pruned, 0.9900 at epoch 2   best 0.7700 (trial 0)" in line
    assert "trials    2 complete, 1 pruned, 0 failed" in caplog.messages


def test_a_search_fails_if_all_trials_fail(run: Callable[..., FakeLauncher]) -> None:
    with pytest.raises(UserError, match="no trial is complete"):
        run(lambda number: UserError("the loss became nan"), n_trials=2)


def test_trials_of_a_batch_differ(run: Callable[..., FakeLauncher]) -> None:
    launcher = run(value, n_trials=5, n_jobs=3)
    assert [number for number, _ in launcher.launched] == [0, 1, 2, 3, 4]
    assert len({str(overrides) for _, overrides in launcher.launched}) == 5


def test_a_damaged_database_is_reported(run: Callable[..., FakeLauncher], tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "study.db").write_text("not a database" * 100)
    with pytest.raises(UserError, match=r"/study.db: cannot be opened: .*file is not a database"):
        run(value, n_trials=1)


def test_the_names_of_pruners_are_those_of_the_schema() -> None:
    assert set(PRUNERS) == set(get_args(SearchConfig.model_fields["pruner"].annotation))
