"""Tests of `fashion-mlp data`."""

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from fashion_mlp.build.parts import build_datamodule
from tests.cli.conftest import RunCLI
from tests.conftest import CONF


def test_data_describes_a_batch(run_cli: RunCLI, root: str) -> None:
    arguments = ("data", "data=synthetic", root, "data.train_size=600", "data.test_size=200", "data.val_size=100")
    result = run_cli(*arguments, "--plot", "grid.png")
    assert result.status == 0
    assert "500 train, 100 val, 200 test" in result.out
    assert "images [64, 1, 28, 28] torch.uint8, labels [64] torch.int64" in result.out
    with Image.open("grid.png") as grid:
        assert grid.width > 500


@pytest.mark.parametrize("option", ["synthetic", "image_folder", "image_csv"])
def test_data_has_the_splits_of_a_run(run_cli: RunCLI, root: str, image_dir: Path, tmp_path: Path, option: str) -> None:
    (image_dir / "boot").mkdir()
    (image_dir / "shirt").mkdir()
    for number, path in enumerate(sorted(image_dir.glob("*.png"))):
        shutil.copy(path, image_dir / ("boot", "shirt")[number % 2])
    arguments = {
        "synthetic": ["data.train_size=1200", "data.test_size=20", root],
        "image_folder": ["data.img_dir=image_dir"],
        "image_csv": ["data.img_dir=image_dir", "data.annotations_file=labels.csv"],
    }[option]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        data = build_datamodule(compose("train", overrides=[f"data={option}", *arguments]))
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    lines = dict(line.split(maxsplit=1) for line in run_cli("data", f"data={option}", *arguments).out.splitlines())
    assert lines["images"] == ", ".join(f"{len(dataset):,} {split}" for split, dataset in data.splits.items())
    assert lines["classes"] == ", ".join(f"{name} {count:,}" for name, count in data.class_counts().items())
    assert lines["a"].startswith(f"batch  images [{min(64, len(data.splits['train']))}, ")


def test_data_reports_a_missing_configuration_directory(
    run_cli: RunCLI, checkpoint: Path, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fashion_mlp.config.command_line.CONF", tmp_path / "conf")
    result = run_cli("data", "data=synthetic")
    assert (result.status, result.err) == (
        1,
        f"error: {tmp_path}/conf: no such directory. Type python -m pip install -e . in that of the project",
    )
    assert run_cli("evaluate", checkpoint, root, "--json").json["images"] == 200  # needs no configuration
