"""Tests of the commands of `fashion-mlp`, which run in this process."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import nn

from fashion_mlp import load_classifier
from fashion_mlp.build import build
from fashion_mlp.classifier import Classifier
from fashion_mlp.cli.main import main
from fashion_mlp.data import ImageDataModule, build_untrusted_datamodule
from fashion_mlp.inference.ensemble import load_ensemble
from fashion_mlp.inference.export import export_state_dict
from fashion_mlp.models import MLP
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import CONF, SMALL, Run


class Result:
    """The exit status and output of a command."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


RunCLI = Callable[..., Result]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    """Return a checkpoint that is trained once for all tests."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    augment = "data.augment.hflip=0.5", "data.augment.translate=1"
    overrides = [
        *SMALL,
        f"data.root={data_root}",
        f"run_dir={run_dir}",
        "logger=none",
        "trainer.max_epochs=4",
        *augment,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("train", overrides=overrides))
    return run_dir / "checkpoints" / "best.ckpt"


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCLI:
    """Return a function that runs a command of `fashion-mlp` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status, message = (1, error.code) if isinstance(error.code, str) else (int(error.code or 0), "")
            out, err = capsys.readouterr()
            return Result(status, out, err + message)
        return Result(status, *capsys.readouterr())

    return run


@pytest.fixture
def root(data_root: Path) -> str:
    return f"data.root={data_root}"


@pytest.fixture
def second(checkpoint: Path, tmp_path: Path) -> Path:
    """Return a checkpoint with different weights, for an ensemble."""
    content = torch.load(checkpoint, weights_only=True)
    for weight in content["state_dict"].values():
        weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * weight.std() / 2
    path = tmp_path / "second.ckpt"
    torch.save(content, path)
    return path


@pytest.fixture
def image_dir(checkpoint: Path, root: str, tmp_path: Path) -> Path:
    """Return a directory with the first 20 test images as PNG files, beside a CSV file of their labels."""
    images, labels = read_test_images(root)
    directory = tmp_path / "image_dir"
    directory.mkdir()
    for number, image in enumerate(images[:20]):
        Image.fromarray(image[0].numpy()).save(directory / f"{number:02}.png")
    rows = "\n".join(f"{number:02}.png,{label}" for number, label in enumerate(labels[:20].tolist()))
    (tmp_path / "labels.csv").write_text(f"file name,label\n{rows}\n")
    return directory


def read_test_images(root: str) -> tuple[torch.Tensor, torch.Tensor]:
    arguments = {"root": root.partition("=")[2], "train_size": 600, "test_size": 200, "val_size": 100}
    data = build_untrusted_datamodule("synthetic", arguments)
    data.prepare_data()
    return data.read_split("test")


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
        data: ImageDataModule = build("data", compose("train", overrides=[f"data={option}", *arguments]))
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


@pytest.mark.slow
def test_invalid_key_of_data_is_reported_without_importing_torch(tmp_path: Path) -> None:
    program = "import sys; from fashion_mlp.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-X", "importtime", "-c", program, "data", "data.batch_sise=3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "data.batch_sise=3: no such key; did you mean data.batch_size?" in done.stderr
    assert " torch" not in done.stderr


def test_embed_writes_files_for_the_projector(run_cli: RunCLI, checkpoint: Path, root: str) -> None:
    result = run_cli("embed", checkpoint, root, "--images", 50, "--output", "directory")
    assert result.out.startswith("50 test images in 32 dimensions: tensorboard --logdir directory")
    (tensors,) = Path("directory/embedding-1").rglob("tensors.tsv")
    assert len(tensors.read_text().splitlines()) == 50
    names = tensors.with_name("metadata.tsv").read_text().splitlines()
    assert (len(names), names[0]) == (51, "true\tpredicted")
    assert tensors.with_name("sprite.png").is_file()
    before = {path: path.read_bytes() for path in Path("directory").rglob("*.*")}
    assert run_cli("embed", checkpoint, root, "--output", "directory").status == 0
    assert {path: path.read_bytes() for path in before} == before
    assert Path("directory/embedding-2/projector_config.pbtxt").is_file()
    assert "PROJECTOR" in run_cli("embed", checkpoint, root).out
    assert (checkpoint.parents[1] / "embedding-1/projector_config.pbtxt").is_file()


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


def test_predict_accepts_checkpoints_and_images_in_any_order(
    run_cli: RunCLI, checkpoint: Path, second: Path, image_dir: Path, root: str
) -> None:
    images, _ = read_test_images(root)
    expected = load_ensemble([checkpoint, second]).predict(images[:2]).probabilities.max(1).values
    arguments = (checkpoint, image_dir / "00.png", second, image_dir / "01.png")
    answers = run_cli("predict", *arguments, "--json").json
    assert [answer["probability"] for answer in answers] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [Path(answer["image"]).name for answer in answers] == ["00.png", "01.png"]


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


def test_predict_accepts_files_directories_and_patterns(
    run_cli: RunCLI, checkpoint: Path, root: str, image_dir: Path
) -> None:
    images, _ = read_test_images(root)
    names, probabilities = load_classifier(checkpoint).predict(images[:20])
    answers = run_cli("predict", checkpoint, image_dir, "--json").json
    assert [answer["class"] for answer in answers] == names
    for answer, expected in zip(answers, probabilities, strict=True):
        assert answer["probability"] == pytest.approx(float(expected.max()), abs=1e-5)
        assert [entry["probability"] for entry in answer["top"]] == pytest.approx(
            expected.topk(3).values.tolist(), abs=1e-5
        )
    assert run_cli("predict", checkpoint, f"{image_dir}/0*.png", "--json").json == answers[:10]
    lines = run_cli("predict", checkpoint, image_dir / "00.png", "--show", "seen.png").out.splitlines()
    assert f"{names[0]} {probabilities[0].max():.1%}" in lines[0]
    assert Path("seen.png").stat().st_size > 1000
    photo = (image_dir / "00.png").read_bytes()
    refused = run_cli("predict", checkpoint, image_dir, "--show", image_dir / "00.png")
    assert refused.err == f"error: --show {image_dir}/00.png: one of the images to classify. Choose another file"
    assert (image_dir / "00.png").read_bytes() == photo


def test_predict_reports_an_unreadable_image_and_classifies_the_others(
    run_cli: RunCLI, checkpoint: Path, image_dir: Path
) -> None:
    (image_dir / "broken.png").write_text("not an image")
    result = run_cli("predict", checkpoint, image_dir)
    assert result.status == 1
    assert len(result.out.splitlines()) == 20
    assert result.err.startswith(f"error: {image_dir / 'broken.png'} is not an image")
    answers = run_cli("predict", checkpoint, image_dir, "--json").json
    assert [answer["image"] for answer in answers if "error" in answer] == [str(image_dir / "broken.png")]


def test_predict_plots_test_samples(run_cli: RunCLI, checkpoint: Path, root: str) -> None:
    result = run_cli("predict", checkpoint, root, "--test-samples", 16, "--plot", "samples.png")
    assert (result.status, len(result.out.splitlines())) == (0, 17)
    assert Path("samples.png").is_file()


@pytest.mark.parametrize(("kind", "ending"), [("state_dict", ".pt"), ("torch_export", ".pt2"), ("onnx", ".onnx")])
def test_export_agrees_with_the_classifier(
    run_cli: RunCLI, checkpoint: Path, root: str, kind: str, ending: str
) -> None:
    result = run_cli("export", checkpoint, root, "--format", kind, "--output", f"directory/model{ending}")
    assert result.status == 0
    match = re.search(r"logits differ by at most (\S+), and 0 predictions differ on 200 test images", result.out)
    assert match is not None
    assert float(match[1]) < 1e-4
    assert [path.name for path in Path("directory").iterdir()] == [f"model{ending}"]
    assert kind != "onnx" or os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_exported_program_contains_no_pickled_code(run_cli: RunCLI, checkpoint: Path, root: str) -> None:
    run_cli("export", checkpoint, root, "--format", "torch_export", "--output", "model.pt2")
    with zipfile.ZipFile("model.pt2") as archive:
        pickles = [name for name in archive.namelist() if archive.read(name).startswith((b"\x80", b"PK"))]
        assert [Path(name).name for name in pickles] == ["model.pt"]  # an example input, which is a tensor
        assert "uint8" in str(torch.load(BytesIO(archive.read(pickles[0])), weights_only=True))


def test_out_of_memory_is_explained(
    run_cli: RunCLI, checkpoint: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_oom(*arguments: Any) -> torch.Tensor:
        raise RuntimeError("MPS backend out of memory (MPS allocated: 9 GB). Tried to allocate 1.50 GB on private pool")

    monkeypatch.setattr("fashion_mlp.classifier.Classifier.forward", raise_oom)
    result = run_cli("evaluate", checkpoint, root)
    assert result.status == 1
    assert result.err.startswith("error: out of memory on MPS")
    assert result.err.endswith("use smaller batches, fewer images, or --device cpu")


def test_state_dict_loads_into_the_module_of_the_pytorch_tutorial(run_cli: RunCLI, checkpoint: Path, root: str) -> None:
    class NeuralNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flatten = nn.Flatten()
            self.linear_relu_stack = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.linear_relu_stack(self.flatten(x))
            return logits

    options = ("--format", "state_dict", "--prefix", "linear_relu_stack.", "--input-max", 1, "--output", "t.pt")
    assert run_cli("export", checkpoint, root, *options).status == 0
    network = NeuralNetwork()
    network.load_state_dict(torch.load("t.pt", weights_only=True))
    images, _ = read_test_images(root)
    expected = load_classifier(checkpoint)(images)
    assert torch.allclose(network(images / 255), expected, atol=1e-4)


def test_predict_from_python_keeps_the_training_mode(checkpoint: Path, root: str) -> None:
    classifier = load_classifier(checkpoint)
    classifier.train()
    images, _ = read_test_images(root)
    names, probabilities = classifier.predict(images[:3])
    assert len(names) == 3
    assert probabilities.sum(1).tolist() == pytest.approx([1, 1, 1])
    assert not probabilities.requires_grad
    assert classifier.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (["evaluate", "CKPT", "gone.ckpt", "--tta"], "gone.ckpt: no such checkpoint"),
        (["evaluate", "CKPT", "optimizer=sgd"], "optimizer=sgd: not supported here. Expected data=OPTION"),
        (["evaluate", "CKPT", "data=image_cvs"], "data=image_cvs: no such option; did you mean image_csv?"),
        (["evaluate", "CKPT", "data.rot=x"], "data.rot=x: no such key; did you mean data.root?"),
        (["evaluate", "CKPT", "data.batch_size=0"], "data.batch_size=0: invalid value. Expected an integer"),
        (["evaluate", "CKPT", "data.batch_size=x"], "data.batch_size=x: invalid value. Expected an integer"),
        (["evaluate", "CKPT", "data.batch_size"], "data.batch_size: cannot be parsed"),
        (["predict", "CKPT"], "IMAGE: required. Type image files"),
        (["predict", "CKPT", "gone.png"], "gone.png: no such image"),
        (["predict", "CKPT", ".", "--plot", "x.png"], "--plot: only with --test-samples"),
        (["export", "CKPT", "ROOT", "--format", "onnx", "--output", "x.pt"], "--output x.pt: wrong suffix."),
        (["evaluate", "CKPT", "ROOT", "--plots", "/dev/null/x"], "/dev/null/x: /dev/null is a file. Expected"),
        (["data", "data=synthetic", "ROOT", "data.train_size=600", "data.test_size=200", "data.val_size=100",
          "--plot", "x.what"], "x.what: unknown format. Expected .jpg"),
        (["evaluate", "CKPT", "--device", "cuda"], "--device cuda: not available on this machine"),
    ],
)  # fmt: skip
def test_errors_are_one_line(
    run_cli: RunCLI, checkpoint: Path, root: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run_cli(*({"CKPT": str(checkpoint), "ROOT": root}.get(word, word) for word in arguments))
    assert result.status == 1
    assert result.err.startswith(f"error: {message}")
    assert len(result.err.splitlines()) == 1


def test_evaluate_explains_missing_data(run_cli: RunCLI, checkpoint: Path, tmp_path: Path) -> None:
    mirrors = "data.mirrors=[http://127.0.0.1:9/]"
    result = run_cli("evaluate", checkpoint, "data=fashion_mnist", f"data.root={tmp_path}", mirrors)
    assert result.status == 1
    assert "place the .gz files" in result.err


def test_model_with_pixel_bins_is_not_exported_as_a_state_dict(tmp_path: Path) -> None:
    classifier = Classifier(MLP([4], pixel_bins=[0, 10, 255]), [*"abcdefghij"])
    with pytest.raises(UserError, match=r"--format state_dict: not possible with model.pixel_bins; use torch_export"):
        export_state_dict(classifier, tmp_path / "x.pt")


def test_only_an_mlp_is_exported_as_a_state_dict(checkpoint: Path, tmp_path: Path) -> None:
    classifier = load_classifier(checkpoint)
    classifier.model = nn.Flatten()
    with pytest.raises(UserError, match=r"the model is a Flatten. Expected MLP"):
        export_state_dict(classifier, tmp_path / "x.pt")


def test_train_and_evaluate_with_custom_images(run_cli: RunCLI, image_dir: Path, root: str, tmp_path: Path) -> None:
    overrides = [
        "data=image_csv", f"data.annotations_file={tmp_path / 'labels.csv'}", f"data.img_dir={image_dir}",
        "data.image_size=[14,20]", "data.mode=rgb", "data.val_size=0", "data.batch_size=4",
        "trainer=cpu", "trainer.max_epochs=1", "logger=none", "model.hidden_sizes=[8]", f"run_dir={tmp_path / 'run'}",
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
    other = run_cli("predict", last, "--test-samples", "3", "data=synthetic", root, "data.val_size=100")
    assert (other.status, other.err) == (
        1,
        "error: data=synthetic: its images have the shape [1,28,28]. The checkpoint expects [3,14,20]",
    )


@pytest.fixture
def custom_checkpoint(tmp_path: Path) -> Path:
    """Return a checkpoint that was trained on 12 of the 15 images in the directory `custom`."""
    for number in range(15):
        directory = tmp_path / "custom" / f"class{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 15 * number).save(directory / f"{number}.png")
    overrides = [
        "data=image_folder", f"data.img_dir={tmp_path / 'custom'}", "data.val_size=0", "data.batch_size=4",
        "trainer=cpu", "trainer.max_epochs=1", "callbacks=lean", "logger=none", "model.hidden_sizes=[8]",
        f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("train", overrides=overrides))
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


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
    Path("link").symlink_to("custom")
    shutil.copytree("custom", "copy")
    assert run_cli("evaluate", custom_checkpoint, *overrides, "--json").json["images"] == 3
    assert len(run_cli("predict", custom_checkpoint, "--test-samples", 99, *overrides, "--json").json) == 3
    assert not caplog.messages


@pytest.mark.parametrize(
    ("overrides", "count", "warning"),
    [
        (("data=image_folder", "data.img_dir=copy"), 15, "copy: the checkpoint was trained on these images"),
        (("data.test_img_dir=custom",), 15, "custom: the checkpoint was trained on these images"),
        (("data=image_folder", "data.img_dir=subset"), 14, ""),
        (("data.img_dir=subset",), 3, "subset: has changed since the training"),
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
    shutil.copytree("custom", "copy")
    shutil.copytree("custom", "subset")
    Path("subset/class0/0.png").unlink()
    assert run_cli("evaluate", custom_checkpoint, *overrides, "--json").json["images"] == count
    assert [message[: len(warning)] for message in caplog.messages] == ([warning] if warning else [])


def test_different_split_of_the_training_images_is_refused(run_cli: RunCLI, custom_checkpoint: Path) -> None:
    for override in ("data.split_seed=1", "data.test_size=5"):
        result = run_cli("evaluate", custom_checkpoint, override)
        assert result.status == 1
        assert result.err.startswith(f"error: {override}: the checkpoint was trained with 0")


def test_images_of_different_classes_are_refused(run_cli: RunCLI, checkpoint: Path, tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / "folders" / name).mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / "folders" / name / "1.png")
    overrides = "data=image_folder", f"data.img_dir={tmp_path / 'folders'}", "data.class_names=[a,b,c,d]"
    result = run_cli("evaluate", checkpoint, *overrides)
    assert result.status == 1
    assert result.err.startswith("error: data=image_folder: its classes differ from those of the checkpoint")
    assert len(result.err.splitlines()) == 1


def test_override_that_ends_in_ckpt_is_not_a_checkpoint(run_cli: RunCLI, checkpoint: Path) -> None:
    result = run_cli("evaluate", checkpoint, "data=image_folder", "data.img_dir=gone.ckpt")
    assert result.err.startswith("error: gone.ckpt: cannot be read (No such file or directory)")


def test_help_is_printed_without_importing_torch(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("fashion-mlp")), "--help"]
    if not shutil.which(command[0]):
        command = [sys.executable, "-m", "fashion_mlp.cli.main", "--help"]
    done = subprocess.run([sys.executable, "-X", "importtime", *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "evaluate" in done.stdout
    assert " torch" not in done.stderr
