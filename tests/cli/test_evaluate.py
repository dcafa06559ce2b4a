"""Tests of `fashion-mlp evaluate`, also of ensembles and of custom images."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from fashion_mlp import load_classifier
from fashion_mlp.cli.main import main
from fashion_mlp.inference.load import load_ensemble
from fashion_mlp.training import train
from tests.cli.conftest import RunCLI, read_test_images
from tests.conftest import CONF, Run


def test_evaluate_agrees_with_the_metrics_of_the_run(run_cli: RunCLI, checkpoint: Path, root: str) -> None:
    metrics = Run(checkpoint.parents[1]).metrics
    result = run_cli("evaluate", checkpoint, root, "--json").json
    assert result["accuracy"] == pytest.approx(metrics["test/acc"], abs=1e-6)
    assert result["loss"] == pytest.approx(metrics["test/loss"], abs=1e-5)
    assert result["macro_f1"] == pytest.approx(metrics["test/f1_macro"], abs=1e-5)
    assert (result["images"], result["data"]) == (200, "synthetic garments")
    table = run_cli("evaluate", checkpoint, root, "--plots", "plots", "--device", "cpu").out
    assert f"accuracy           {result['accuracy']:.4f}" in table
    assert "Ankle boot" in table
    assert {path.name for path in Path("plots").iterdir()} == {
        "confusion_matrix.png",
        "mistakes.png",
        "reliability.png",
    }


def test_directory_of_a_run_and_latest_name_a_checkpoint(run_cli: RunCLI, checkpoint: Path, root: str) -> None:
    result = run_cli("evaluate", checkpoint.parents[1], root, "--json")
    assert result.err == f"checkpoint {checkpoint}\n"
    assert result.json == run_cli("evaluate", checkpoint, root, "--json").json
    missing = run_cli("evaluate", "latest", root)
    assert (missing.status, missing.out) == (1, "")
    assert missing.err.startswith("error: latest: no checkpoint below ")
    shutil.copytree(checkpoint.parents[1], "runs/2026-11-26/sweep/0")
    ensemble = run_cli("evaluate", "latest", checkpoint.parents[1], root, "--json")
    assert ensemble.err == f"checkpoint runs/2026-11-26/sweep/0/checkpoints/best.ckpt\ncheckpoint {checkpoint}\n"
    assert ensemble.json == result.json


def test_figures_are_written_if_stdout_is_closed(
    checkpoint: Path, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert main(["evaluate", str(checkpoint), root, "--plots", str(tmp_path / "plots")]) == 0
    assert (tmp_path / "plots" / "reliability.png").is_file()


@pytest.mark.parametrize("tta", [[], ["--tta"]], ids=["plain", "tta"])
def test_evaluate_and_predict_with_an_ensemble(
    run_cli: RunCLI, checkpoint: Path, second: Path, root: str, tta: list[str]
) -> None:
    result = run_cli("evaluate", checkpoint, "--json", second, root, *tta).json
    images, labels = read_test_images(root)
    members = [load_ensemble([path], tta=bool(tta)) for path in (checkpoint, second)]
    probabilities = torch.stack([member.predict(images).probabilities for member in members]).mean(0)
    assert result["accuracy"] == int((probabilities.argmax(1) == labels).sum()) / 200
    assert result["loss"] == pytest.approx(float(-probabilities[range(200), labels].log().mean()), abs=1e-5)

    answers = run_cli("predict", checkpoint, second, root, "--test-samples", 9, "--json", *tta).json
    assert [answer["probability"] for answer in answers] == pytest.approx(
        probabilities[:9].max(1).values.tolist(), abs=1e-5
    )


def test_evaluate_with_a_csv_file(run_cli: RunCLI, checkpoint: Path, root: str, image_dir: Path) -> None:
    images, labels = read_test_images(root)
    predicted = load_classifier(checkpoint).predict(images[:20]).probabilities.argmax(1)
    result = run_cli(
        "evaluate",
        checkpoint,
        "data=image_csv",
        "data.annotations_file=labels.csv",
        f"data.img_dir={image_dir}",
        "--json",
    ).json
    assert result["accuracy"] == int((predicted == labels[:20]).sum()) / 20
    assert result["images"] == 20


def test_evaluate_explains_missing_data(run_cli: RunCLI, checkpoint: Path, tmp_path: Path) -> None:
    mirrors = "data.mirrors=[http://127.0.0.1:9/]"
    result = run_cli("evaluate", checkpoint, "data=fashion_mnist", f"data.root={tmp_path}", mirrors)
    assert result.status == 1
    assert "place its .gz files" in result.err


def test_override_that_ends_in_ckpt_is_not_a_checkpoint(run_cli: RunCLI, checkpoint: Path) -> None:
    result = run_cli("evaluate", checkpoint, "data=image_folder", "data.img_dir=gone.ckpt")
    assert result.err.startswith("error: gone.ckpt: cannot be read (No such file or directory)")


def test_train_and_evaluate_with_custom_images(run_cli: RunCLI, image_dir: Path, root: str, tmp_path: Path) -> None:
    overrides = [
        "data=image_csv", f"data.annotations_file={tmp_path / 'labels.csv'}", f"data.img_dir={image_dir}",
        "data.image_size=[14,20]", "data.mode=rgb", "data.val_size=0", "data.batch_size=4",
        "trainer=cpu", "trainer.max_epochs=1", "callbacks=lean", "logger=none", "model.hidden_sizes=[8]",
        f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("train", overrides=overrides))
    metrics = Run(tmp_path / "run").metrics
    assert metrics["data"] == "custom images (labels.csv)"
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    result = run_cli("evaluate", last, "--json").json
    assert result["accuracy"] == pytest.approx(metrics["test/acc"], abs=1e-6)
    assert list(result["classes"]) == sorted(result["classes"], key=int)
    # Other test images are converted to the size and colours of the training images.
    (tmp_path / "others.csv").write_text((tmp_path / "labels.csv").read_text().replace("00.png,", "./00.png,"))
    others = ("data=image_csv", f"data.annotations_file={tmp_path / 'others.csv'}", f"data.img_dir={image_dir}")
    assert run_cli("evaluate", last, *others, "--json").json["images"] == 20
    (answer,) = run_cli("predict", last, image_dir / "00.png", "--json").json
    assert answer["class"] in result["classes"]
    small = "data.train_size=600", "data.test_size=200", "data.val_size=100"
    other = run_cli("predict", last, "--test-samples", "3", "data=synthetic", root, *small)
    assert (other.status, other.err) == (
        1,
        "error: data=synthetic: its images have the shape [1,28,28]. The checkpoint expects [3,14,20]",
    )


@pytest.fixture(scope="module")
def custom_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a run that was trained on 12 of the 15 images in `custom`, and links and copies of these.

    The copy in `subset` lacks an image.
    """
    root = tmp_path_factory.mktemp("images")
    for number in range(15):
        directory = root / "custom" / f"class{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 15 * number).save(directory / f"{number}.png")
    overrides = [
        "data=image_folder", f"data.img_dir={root / 'custom'}", "data.val_size=0", "data.batch_size=4",
        "trainer=cpu", "trainer.max_epochs=1", "callbacks=lean", "logger=none", "model.hidden_sizes=[8]",
        f"run_dir={root / 'run'}",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("train", overrides=overrides))
    (root / "link").symlink_to("custom")
    shutil.copytree(root / "custom", root / "copy")
    shutil.copytree(root / "custom", root / "subset")
    (root / "subset/class0/0.png").unlink()
    return root


@pytest.fixture
def custom_checkpoint(custom_images: Path, run_cli: RunCLI, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the checkpoint of the run in `custom_images`, the working directory of the test."""
    monkeypatch.chdir(custom_images)
    return custom_images / "run" / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("data=image_folder", "data.img_dir=custom"),
        ("data=image_folder", "data.img_dir=link/../link"),
        ("data=image_folder", "data.img_dir=custom", "data.test_size=0.2", "data.split_seed=0"),
        ("data.img_dir=copy",),
    ],
    ids=" ".join,
)
def test_training_images_are_not_tested(
    run_cli: RunCLI, custom_checkpoint: Path, overrides: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert run_cli("evaluate", custom_checkpoint, *overrides, "--json").json["images"] == 3
    assert len(run_cli("predict", custom_checkpoint, "--test-samples", 99, *overrides, "--json").json) == 3
    assert not caplog.messages


@pytest.mark.parametrize(
    ("overrides", "count", "warning"),
    [
        (("data=image_folder", "data.img_dir=copy"), 15, "copy: some test images may be images that the checkpoint"),
        (("data.test_img_dir=custom",), 15, "custom: some test images may be images that the checkpoint"),
        (("data=image_folder", "data.img_dir=subset"), 14, ""),
        (("data.img_dir=subset",), 3, "subset: some test images may be images that the checkpoint"),
    ],
)  # fmt: skip
def test_training_images_are_recognized_in_other_directories(
    run_cli: RunCLI,
    custom_checkpoint: Path,
    overrides: tuple[str, ...],
    count: int,
    warning: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert run_cli("evaluate", custom_checkpoint, *overrides, "--json").json["images"] == count
    assert [message[: len(warning)] for message in caplog.messages] == ([warning] if warning else [])


def test_different_split_of_the_training_images_is_refused(run_cli: RunCLI, custom_checkpoint: Path) -> None:
    for override in ("data.split_seed=1", "data.test_size=5"):
        result = run_cli("evaluate", custom_checkpoint, override)
        assert result.status == 1
        assert result.err.startswith(f"error: {override}: the checkpoint was trained with 0")


def test_images_of_different_classes_are_refused(run_cli: RunCLI, checkpoint: Path, tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / "classes_dir" / name).mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / "classes_dir" / name / "1.png")
    overrides = "data=image_folder", f"data.img_dir={tmp_path / 'classes_dir'}", "data.class_names=[a,b,c,d]"
    result = run_cli("evaluate", checkpoint, *overrides)
    assert result.status == 1
    assert result.err.startswith("error: data=image_folder: its classes differ from those of the checkpoint")
    assert len(result.err.splitlines()) == 1
