"""The names of runs and jobs: in directories, TensorBoard, HPARAMS, the leaderboard and `metrics.json`."""

import csv
from pathlib import Path

from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from tests.conftest import Run, RunCommand

QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=1")


def trial_ids(directory: Path) -> dict[str, str]:
    """Return the names in HPARAMS of the runs that TensorBoard finds in a directory, by their names in its charts."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(directory)).Reload()
    contents = {
        name: multiplexer.SummaryMetadata(name, metadata.SESSION_START_INFO_TAG).plugin_data.content
        for name in multiplexer.Runs()
    }
    return {
        name: metadata.parse_session_start_info_plugin_data(content).group_name for name, content in contents.items()
    }


def test_a_named_run(run_small: RunCommand, tmp_path: Path) -> None:
    done = run_small("name=baseline", "logger=tensorboard", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    (run_dir,) = tmp_path.glob("runs/*/*-baseline")
    assert Run(run_dir).metrics["name"] == "baseline"
    relative = run_dir.relative_to(tmp_path / "runs")
    assert trial_ids(tmp_path / "runs") == {str(relative): f"{run_dir.name} (runs/{relative.parent})"}


def test_a_run_without_a_name(run_small: RunCommand, tmp_path: Path) -> None:
    assert run_small(*QUICK).returncode == 0
    (metrics,) = tmp_path.glob("runs/*/*/metrics.json")
    assert metrics.parent.name.replace("-", "").replace(".", "").isdecimal()
    assert Run(metrics.parent).metrics["name"] is None


def test_jobs_are_named_by_what_varies(run_small: RunCommand, run_in_process: RunCommand, tmp_path: Path) -> None:
    # `SMALL` fixes the hidden sizes first, so Hydra varies them first.
    varying = ["logger=tensorboard", "optimizer=sgd,adam", "model.hidden_sizes=[16],[8, 4]"]
    assert run_small("-m", *varying, "label_smoothing=0.1", "optimizer.lr=0.1", *QUICK).returncode == 0
    (sweep,) = tmp_path.glob("runs/*/*-sweep")
    names = {
        str(2 * row + column): f"model.hidden_sizes={sizes},optimizer={optimizer}"
        for row, sizes in enumerate(["16", "8,4"])
        for column, optimizer in enumerate(["sgd", "adam"])
    }
    assert {path.parent.name: Run(path.parent).metrics["name"] for path in sweep.glob("*/metrics.json")} == names
    place = sweep.relative_to(tmp_path)
    expected = {f"{job}/{name}": f"{name} ({place}/{job})" for job, name in names.items()}
    assert trial_ids(sweep) == expected
    with (sweep / "leaderboard.csv").open(newline="") as file:
        assert {row["job"]: row["name"] for row in csv.DictReader(file)} == names
    (sweep / "1/metrics.json").unlink()
    assert run_in_process(f"resume_sweep={place}").returncode == 0
    (sweep / "2/metrics.json").unlink()
    assert run_in_process(f"resume={place}/2").returncode == 0
    assert Run(sweep / "2").metrics["name"] == names["2"]
    assert trial_ids(sweep) == expected


def test_jobs_of_a_named_sweep(run_small: RunCommand, tmp_path: Path) -> None:
    assert run_small("-m", "name=study", "seed=1,2", *QUICK).returncode == 0
    (sweep,) = tmp_path.glob("runs/*/*-study-sweep")
    names = [Run(sweep / job).metrics["name"] for job in ("0", "1")]
    assert names == ["study,seed=1", "study,seed=2"]
