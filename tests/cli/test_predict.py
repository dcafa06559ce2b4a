"""Tests of `fashion-mlp predict`."""

from pathlib import Path

import pytest

from fashion_mlp import load_classifier
from fashion_mlp.inference.load import load_ensemble
from tests.cli.conftest import RunCLI, read_test_images


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


def test_predict_accepts_checkpoints_and_images_in_any_order(
    run_cli: RunCLI, checkpoint: Path, second: Path, image_dir: Path, root: str
) -> None:
    images, _ = read_test_images(root)
    expected = load_ensemble([checkpoint, second]).predict(images[:2]).probabilities.max(1).values
    arguments = (checkpoint, image_dir / "00.png", second, image_dir / "01.png")
    answers = run_cli("predict", *arguments, "--json").json
    assert [answer["probability"] for answer in answers] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [Path(answer["image"]).name for answer in answers] == ["00.png", "01.png"]


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
    assert (result.status, len(result.out.splitlines()), result.err) == (0, 16, "saved samples.png\n")
    assert Path("samples.png").is_file()


def test_predict_from_python_keeps_the_training_mode(checkpoint: Path, root: str) -> None:
    classifier = load_classifier(checkpoint)
    classifier.train()
    images, _ = read_test_images(root)
    names, probabilities = classifier.predict(images[:3])
    assert len(names) == 3
    assert probabilities.sum(1).tolist() == pytest.approx([1, 1, 1])
    assert not probabilities.requires_grad
    assert classifier.training
