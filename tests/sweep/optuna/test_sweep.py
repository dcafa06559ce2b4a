"""`python train.py sweep=optuna` from the command line."""

import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from fashion_mlp.data import SyntheticDataModule
from tests.conftest import ROOT, SMALL, Run, RunCommand
from tests.forked import run_forked

optuna = pytest.importorskip("optuna", reason="the extra [sweep] is not installed")

SEARCH = ("sweep=optuna", "model.width=range(8,33,8)", "data.batch_size=choice(50,100)", "hydra.sweep.dir=sweep")


def trials(directory: Path) -> list[Any]:
    from fashion_mlp.sweep.optuna.loop import open_storage

    stored = optuna.load_study(study_name="fashion-mlp", storage=open_storage(directory)).trials
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in stored]


def test_a_search_ends_with_the_command_of_its_best_run(
    run_small: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    read = SyntheticDataModule.read_split
    monkeypatch.setattr(
        SyntheticDataModule,
        "read_split",
        lambda self, split: seen.add(split) or read(self, split),  # type: ignore[func-returns-value]
    )
    small = [override for override in SMALL if not override.startswith(("model.hidden_sizes", "test="))]
    monkeypatch.setattr("tests.conftest.SMALL", small)
    done = run_small(*SEARCH, "hydra.sweeper.n_trials=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert seen == {"train"}
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["sweep", "trial", "trial", "trials", "best", "python"]
    accuracies = []
    for number in (0, 1):
        directory = tmp_path / "sweep" / str(number)
        assert "sweep=optuna" in (directory / ".hydra" / "overrides.yaml").read_text()
        assert (directory / "train.log").stat().st_size > 0
        metrics = Run(directory).metrics
        assert not [name for name in metrics if name.startswith("test/")]
        assert re.fullmatch(r".*,data.batch_size=\d+,model.hidden_sizes=\d+(,\d+)*", metrics["name"])
        accuracies.append(metrics["val/acc"])
    assert [value for *_, value in trials(tmp_path / "sweep")] == accuracies
    assert lines[4].split()[2:] == [f"{max(accuracies):.4f},", f"sweep/{accuracies.index(max(accuracies))}"]

    monkeypatch.setattr("tests.conftest.SMALL", ())
    pasted = shlex.split(lines[5])[2:]
    assert run_small(*pasted, "hydra.run.dir=best").returncode == 0
    metrics = Run(tmp_path / "best").metrics
    assert metrics["val/acc"] == max(accuracies)
    assert "test/acc" in metrics


@pytest.mark.slow
def test_a_killed_search_loses_no_trial_and_repeats_none(
    run_small: RunCommand, run_in_process: RunCommand, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [override for override in SMALL if not override.startswith("model.hidden_sizes")]
    monkeypatch.setattr("tests.conftest.SMALL", small)
    killer = f"+callbacks.killer={{_target_:tests.sweep.optuna.killer.Killer,number:1,marker:{tmp_path}/killed}}"
    typed = [*small, f"data.root={data_root}", *SEARCH, killer, "hydra.sweeper.n_trials=3"]
    path = f"{ROOT / 'src'}:{ROOT}"
    killed = run_forked(typed, tmp_path, PYTHONPATH=path)
    assert killed.returncode == -signal.SIGKILL
    before = trials(tmp_path / "sweep")
    assert [(number, state) for number, state, *_ in before] == [(0, "COMPLETE"), (1, "RUNNING")]
    written = (tmp_path / "sweep" / "0" / "metrics.json").stat().st_mtime_ns

    done = run_in_process("resume_sweep=sweep")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "sweep     sweep"
    after = trials(tmp_path / "sweep")
    assert after[0] == before[0]
    assert after[1][2] == before[1][2]
    assert [(number, state) for number, state, *_ in after] == [(number, "COMPLETE") for number in range(3)]
    assert len({str(params) for _, _, params, _ in after}) == 3
    assert (tmp_path / "sweep" / "0" / "metrics.json").stat().st_mtime_ns == written
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == ["0", "1", "2"]

    whole = run_small(*SEARCH[:-1], "hydra.sweep.dir=whole", killer, "hydra.sweeper.n_trials=3")
    assert whole.returncode == 0
    assert trials(tmp_path / "whole") == after


def test_without_optuna_the_extra_is_named(
    run_small: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in [name for name in sys.modules if name.startswith("fashion_mlp.sweep.optuna")]:
        monkeypatch.delitem(sys.modules, name)
    done = run_small(*SEARCH)
    assert done.returncode == 1
    assert done.stderr == "error: sweep=optuna: needs Optuna. Type python -m pip install -e '.[sweep]'\n"
    assert not (tmp_path / "sweep").exists()


def test_the_directory_of_another_sweep_is_refused(run_small: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    done = run_small(*SEARCH)
    assert (done.returncode, done.stdout) == (1, "")
    assert "sweep/0 exists and is not of this sweep" in done.stderr
