"""Tests of the content of figures."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fashion_mlp.reporting import figures


def test_titles_of_predictions_name_both_classes_and_mark_mistakes() -> None:
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    probabilities = torch.tensor([[0.9, 0.1], [0.25, 0.75], [0.6, 0.4]])
    figure = figures.predictions(images, probabilities, torch.tensor([0, 0, 0]), ("hat", "sock"))
    titles = figure.axes[0].texts
    assert [title.get_text() for title in titles] == ["hat 90%\ntrue: hat", "sock 75%\ntrue: hat", "hat 60%\ntrue: hat"]
    assert [title.get_color() for title in titles] == [figures.RIGHT, figures.WRONG, figures.RIGHT]


def test_image_grid_places_each_grey_or_colour_image_in_a_cell() -> None:
    for channels in (1, 3):
        images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8)
        figure = figures.image_grid(images, list("abcde"), columns=3)
        (axes,) = figure.axes
        assert [text.get_text() for text in axes.texts] == list("abcde")
        cells = [image.get_extent() for image in axes.get_images()]
        assert len({(left, bottom) for left, _, bottom, _ in cells}) == 5
        assert {round(right - left, 6) for left, right, _, _ in cells} == {1.3}


def test_confusion_matrix_shows_its_counts() -> None:
    figure = figures.confusion_matrix(torch.tensor([[5, 1], [0, 7]]), ("hat", "sock"))
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["5", "1", "7"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["hat", "sock"]


def test_names_in_the_confusion_matrix_of_ten_classes_are_readable_in_tensorboard() -> None:
    figure = figures.confusion_matrix(torch.eye(10, dtype=torch.int64), [f"class {number}" for number in range(10)])
    with Image.open(BytesIO(figures.png(figure))) as image:
        scale = 340 / image.width  # TensorBoard reduces an image to the width of a card
    (size,) = {label.get_fontsize() for label in figure.axes[0].get_yticklabels()}
    assert float(size) / 72 * figures.DPI * scale > 7


@pytest.mark.parametrize("count", [25, 26, 300, figures.MAX_MATRIX_CLASSES])
def test_size_of_the_confusion_matrix_is_limited(count: int) -> None:
    figure = figures.confusion_matrix(
        torch.eye(count, dtype=torch.int64), [f"class {number}" for number in range(count)]
    )
    axis = figure.axes[0]
    assert max(figure.get_size_inches()) <= 12
    assert len(axis.texts) == (25 if count == 25 else 0)
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels[0] == "class 0"
    assert len(labels) <= 50
    with Image.open(BytesIO(figures.png(figure))) as image:
        assert max(image.size) <= 1100


def test_class_names_may_contain_any_characters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["$x$", r"$\foo$", "line\nbreak", "long " * 50, "\x07\udc80", "\u4e2d\u6587\u7c7b\u540d", "%s {}"]
    matrix = figures.confusion_matrix(torch.eye(7, dtype=torch.int64), names)
    labels = [label.get_text() for label in matrix.axes[0].get_xticklabels()]
    assert labels == ["$x$", r"$\foo$", "line break", "long long long …", r"\u0007\udc80", names[5], "%s {}"]
    images = torch.zeros(7, 1, 8, 8, dtype=torch.uint8)
    for number, figure in enumerate((matrix, figures.predictions(images, torch.eye(7), torch.arange(7), names))):
        figures.save(figure, tmp_path / f"{number}.png")
        figures.save(figure, tmp_path / f"{number}.pdf")
    assert not caplog.messages


def test_large_images_are_reduced() -> None:
    images = torch.randint(0, 256, (2, 3, 300, 600), dtype=torch.uint8)
    (axes,) = figures.image_grid(images, ["a", "b"]).axes
    assert [np.asarray(image.get_array()).shape for image in axes.get_images()] == [(128, 256, 3)] * 2


def test_failed_save_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figures.image_grid(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), ["a"])
    figures.save(figure, tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()

    def fail(file: BytesIO, **options: object) -> None:
        file.write(b"partial")
        raise MemoryError

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(MemoryError):
        figures.save(figure, tmp_path / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == before


def test_reliability_diagram_has_a_point_and_a_bar_per_bin() -> None:
    nan = float("nan")
    figure = figures.reliability(torch.tensor([nan, 0.5, 0.9]), torch.tensor([nan, 0.4, 1.0]), torch.tensor([0, 5, 20]))
    upper, lower = figure.axes
    points = np.asarray(upper.lines[1].get_xydata())
    assert points[1:].tolist() == [[0.5, pytest.approx(0.4)], [pytest.approx(0.9), 1.0]]
    assert [bar.get_height() for bar in lower.containers[0]] == [0, 5, 20]


def test_validation_curve_has_points_of_validated_epochs_only() -> None:
    history: dict[str, list[float | None]] = {
        "train/loss": [4.0, 3.0, 2.0, 1.0],
        "val/loss": [None, 3.5, None, 2.5],
        "train/acc": [0.1, 0.2, 0.3, 0.4],
    }
    figure = figures.curves([1, 2, 3, 4], history)
    loss, accuracy = figure.axes
    points = [np.asarray(line.get_xydata()).tolist() for line in loss.lines]
    assert points == [[[1, 4], [2, 3], [3, 2], [4, 1]], [[2, 3.5], [4, 2.5]]]
    assert [line.get_label() for line in accuracy.lines] == ["training"]
