"""A search from its first trial, or from where it was stopped, to its best configuration; the jobs are pretended."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from fashion_mlp.config.records import record_error
from fashion_mlp.config.schema import SearchConfig
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.signals import Interrupted
from tests.conftest import CONF

optuna = pytest.importorskip("optuna", reason="the extra [sweep] is not installed")

from fashion_mlp.callbacks.pruning import Pruning  # noqa: E402
from fashion_mlp.sweep.optuna import search, study  # noqa: E402
from fashion_mlp.sweep.optuna.loop import consecutive  # noqa: E402

Result = float | BaseException


class Jobs(Launcher):
    """Pretends to run jobs, and keeps what it was asked for."""

    def __init__(self, result: Callable[[int], Result], folder: Path) -> None:
        self.result = result
        self.folder = folder
        self.launched: list[tuple[int, Sequence[str]]] = []

    def setup(self, **_: Any) -> None:
        pass

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        returns = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            self.launched.append((number, overrides))
            result = self.result(number)
            if isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result  # the whole process ends
            if isinstance(result, Exception):
                record_error(self.folder / str(number), overrides, result)
                result = math.nan
            returns.append(JobReturn(status=JobStatus.COMPLETED))
            returns[-1].return_value = result
        return returns


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Jobs]:
    """Return a function that searches with pretended jobs, and again where it was stopped when called again."""

    def searched(result: Callable[[int], Result], *typed: str, folder: str = "sweep", **settings: Any) -> Jobs:
        given = [f"hydra.sweeper.{key}={value}" for key, value in settings.items()]
        hydras = [f"hydra.sweep.dir={tmp_path / folder}", "hydra.job.name=train", *given]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", ["sweep=optuna", *hydras], return_hydra_config=True)
        jobs = Jobs(result, tmp_path / folder)
        search(config, ["sweep=optuna", *typed], jobs, None)  # type: ignore[arg-type]  # no globs here
        return jobs

    return searched


def trials(folder: Path) -> list[Any]:
    stored = optuna.load_study(study_name="fashion-mlp", storage=f"sqlite:///{folder}/study.db").trials
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in stored]


def value(number: int) -> float:
    """Return an accuracy as good as any: different for each trial, and best in the middle."""
    return 0.8 - 0.01 * abs(number - 3)


def stopped_at(number: int) -> Callable[[int], Result]:
    return lambda asked: KeyboardInterrupt() if asked == number else value(asked)


def test_a_trial_gets_a_line_and_the_best_a_command(
    run: Callable[..., Jobs], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    jobs = run(value, "seed=7", n_trials=5)
    lines = caplog.messages
    assert [line.split()[:2] for line in lines[1:6]] == [["trial", str(number)] for number in range(5)]
    assert "val/acc 0.8000" in lines[4]
    assert "best 0.8000 (trial 3)" in lines[5]
    assert lines[6:8] == ["trials    5 complete, 0 pruned, 0 failed", f"best      val/acc 0.8000, {tmp_path}/sweep/3"]
    number, overrides = jobs.launched[3]
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


@pytest.mark.parametrize("stop", [1, 11])
def test_a_search_that_was_stopped_becomes_what_it_would_have_been(
    run: Callable[..., Jobs], tmp_path: Path, stop: int
) -> None:
    whole = run(value, folder="whole", n_trials=12)
    with pytest.raises(Interrupted, match=r"^interrupted; go on with: python train.py sweep=optuna .*hydra.sweep.dir="):
        run(stopped_at(stop), n_trials=12)
    (tmp_path / "sweep" / str(stop) / "checkpoints").mkdir(parents=True)  # what the stopped trial has left
    rest = run(value, n_trials=12)
    assert rest.launched == whole.launched[stop:]
    assert trials(tmp_path / "sweep") == trials(tmp_path / "whole")
    assert len({str(params) for _, _, params, _ in trials(tmp_path / "sweep")}) == 12
    assert not (tmp_path / "sweep" / str(stop)).exists()
    assert (tmp_path / "sweep" / f"{stop}-interrupted-1" / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("number", "n_jobs", "n_trials"),
    [(1, 1, 3), (12, 3, 14)],  # at random, as the first ten trials are; by TPE, in the first trial of a batch
)
def test_a_search_interrupted_while_it_draws_draws_the_same_values(
    run: Callable[..., Jobs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, n_jobs: int, n_trials: int
) -> None:
    def better(number: int) -> float:
        return number / 100  # so that a trial which has ended changes what is drawn

    whole = run(better, folder="whole", n_trials=n_trials, n_jobs=n_jobs)
    with monkeypatch.context() as patch:
        suggest = optuna.Trial.suggest_float

        def stop(self: Any, name: str, *arguments: Any, **keywords: Any) -> float:
            if (self.number, name) == (number, "model.dropout"):
                raise KeyboardInterrupt
            return float(suggest(self, name, *arguments, **keywords))

        patch.setattr(optuna.Trial, "suggest_float", stop)
        with pytest.raises(Interrupted, match="interrupted"):
            run(better, n_trials=n_trials, n_jobs=n_jobs)
    rest = run(better, n_trials=n_trials, n_jobs=n_jobs)
    assert rest.launched == whole.launched[-len(rest.launched) :]
    assert trials(tmp_path / "sweep") == trials(tmp_path / "whole")


def test_a_run_that_was_complete_is_not_run_again(run: Callable[..., Jobs], tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="interrupted"):
        run(stopped_at(2), n_trials=4, n_jobs=2)
    # Its batch was stopped, but one of the two had come to its end in a process of its own.
    (tmp_path / "sweep" / "2").mkdir()
    (tmp_path / "sweep" / "2" / "metrics.json").write_text(json.dumps({"val/acc": 0.5}))
    rest = run(value, n_trials=4, n_jobs=2)
    assert [number for number, _ in rest.launched] == [3]
    assert [result for *_, result in trials(tmp_path / "sweep")] == [value(0), value(1), 0.5, value(3)]


def test_more_trials_are_added_and_none_is_repeated(run: Callable[..., Jobs], tmp_path: Path) -> None:
    run(value, n_trials=2)
    assert [number for number, _ in run(value, n_trials=3).launched] == [2]
    assert run(value, n_trials=3).launched == []
    assert [state for _, state, *_ in trials(tmp_path / "sweep")] == ["COMPLETE"] * 3


def test_a_failed_trial_does_not_end_the_search(
    run: Callable[..., Jobs], tmp_path: Path, caplog: pytest.LogCaptureFixture
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


def test_a_pruned_trial_is_recorded_as_such_and_never_the_best(
    run: Callable[..., Jobs], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def given_up(number: int) -> Result:
        if number != 1:
            return value(number)
        trial = Pruning(f"sqlite:///{tmp_path}/sweep/study.db", "fashion-mlp", number, "median")
        trial.find_trial()
        trial.report(2, 0.99)
        trial.mark_pruned()
        return 0.99

    run(given_up, n_trials=3)
    assert [state for _, state, *_ in trials(tmp_path / "sweep")] == ["COMPLETE", "PRUNED", "COMPLETE"]
    (line,) = (line for line in caplog.messages if line.startswith("trial   1"))
    assert "pruned, 0.9900 at epoch 2   best 0.7700 (trial 0)" in line
    assert "trials    2 complete, 1 pruned, 0 failed" in caplog.messages


def test_a_search_in_which_all_fail_has_failed(run: Callable[..., Jobs]) -> None:
    with pytest.raises(UserError, match="no trial came to its end"):
        run(lambda number: UserError("the loss became nan"), n_trials=2)


def test_trials_at_a_time_differ(run: Callable[..., Jobs]) -> None:
    jobs = run(value, n_trials=5, n_jobs=3)
    assert [number for number, _ in jobs.launched] == [0, 1, 2, 3, 4]
    assert len({str(overrides) for _, overrides in jobs.launched}) == 5


def test_a_batch_has_consecutive_numbers() -> None:
    numbers = [0, 1, 2, 4, 5]
    found = consecutive([SimpleNamespace(number=number) for number in numbers])  # type: ignore[misc]
    assert [[trial.number for trial in batch] for batch in found] == [[0, 1, 2], [4, 5]]


def test_two_searches_at_once_are_refused(run: Callable[..., Jobs], tmp_path: Path) -> None:
    run(value, n_trials=1)
    with (
        FileLock(tmp_path / "sweep" / "study.db.lock"),
        pytest.raises(UserError, match=r"study\.db: another search is at work on it"),
    ):
        run(value, n_trials=2)


def test_what_cannot_be_compared_is_refused(run: Callable[..., Jobs]) -> None:
    run(value, "trainer.max_epochs=3", n_trials=1)
    with pytest.raises(UserError, match=r"trainer.max_epochs: .* was begun with trainer.max_epochs=3; repeat that"):
        run(value, "trainer.max_epochs=4", n_trials=2)
    with pytest.raises(UserError, match=r"seed: .* was begun with its default"):
        run(value, "trainer.max_epochs=3", "seed=1", n_trials=2)


def test_another_sweeps_folder_is_refused(run: Callable[..., Jobs], tmp_path: Path) -> None:
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    with pytest.raises(UserError, match="holds another sweep already"):
        run(value, n_trials=1)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("postgresql://host/name", "must be sqlite:/// and the path of a file"),
        ("sqlite:///", "must be sqlite:/// and the path of a file"),
        ("sqlite:////dev/null/study.db", "/dev/null: cannot be written"),
        ("sqlite:///pyproject.toml", "cannot be opened: .*file is not a database"),
    ],
)
def test_a_storage_that_cannot_be_used(
    run: Callable[..., Jobs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str, message: str
) -> None:
    (tmp_path / "pyproject.toml").write_text((CONF.parent / "pyproject.toml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run(value, n_trials=1, storage=storage)


def test_the_names_of_pruners_are_those_of_the_schema() -> None:
    assert set(study.PRUNERS) == set(get_args(SearchConfig.model_fields["pruner"].annotation))
