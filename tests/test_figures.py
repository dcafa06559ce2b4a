"""What the pictures show: that they look well was seen by eye."""

import numpy as np
import pytest
import torch

from fashion_mlp import figures


def test_predictions_name_both_classes_and_mark_mistakes() -> None:
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    probabilities = torch.tensor([[0.9, 0.1], [0.25, 0.75], [0.6, 0.4]])
    figure = figures.predictions(images, probabilities, torch.tensor([0, 0, 0]), ("hat", "sock"))
    titles = figure.axes[0].texts
    assert [title.get_text() for title in titles] == ["hat 90%\ntrue: hat", "sock 75%\ntrue: hat", "hat 60%\ntrue: hat"]
    assert [title.get_color() for title in titles] == [figures.RIGHT, figures.WRONG, figures.RIGHT]


def test_a_grid_has_a_place_for_each_image_in_grey_or_colour() -> None:
    for channels in (1, 3):
        images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8)
        figure = figures.image_grid(images, list("abcde"), columns=3)
        (axes,) = figure.axes
        assert [text.get_text() for text in axes.texts] == list("abcde")
        places = [image.get_extent() for image in axes.get_images()]
        assert len({(left, bottom) for left, _, bottom, _ in places}) == 5
        assert {round(right - left, 6) for left, right, _, _ in places} == {1.3}


def test_the_confusion_matrix_shows_its_counts() -> None:
    figure = figures.confusion_matrix(torch.tensor([[5, 1], [0, 7]]), ("hat", "sock"))
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["5", "1", "7"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["hat", "sock"]


def test_the_reliability_diagram_shows_each_bin_that_holds_answers() -> None:
    nan = float("nan")
    parts = (torch.tensor([nan, 0.5, 0.9]), torch.tensor([nan, 0.4, 1.0]), torch.tensor([0, 5, 20]))
    figure = figures.reliability(*parts)
    upper, lower = figure.axes
    measured = upper.containers[0][0]
    assert measured.get_xydata().tolist()[1:] == [[0.5, pytest.approx(0.4)], [pytest.approx(0.9), 1.0]]
    assert [bar.get_height() for bar in lower.containers[0]] == [0, 5, 20]
    bars = upper.containers[0][2][0].get_segments()
    bounds = [[float(height) for _, height in bar] for bar in bars if len(bar)]
    # statsmodels.stats.proportion.proportion_confint(2, 5, method="wilson"), and of 20 in 20
    assert bounds[-2:] == [pytest.approx([0.1176, 0.7693], abs=2e-4), pytest.approx([0.8389, 1.0], abs=2e-4)]


def test_a_curve_has_points_where_there_was_a_validation() -> None:
    history: dict[str, list[float | None]] = {
        "train/loss": [4.0, 3.0, 2.0, 1.0],
        "val/loss": [None, 3.5, None, 2.5],
        "train/acc": [0.1, 0.2, 0.3, 0.4],
    }
    figure = figures.curves([1, 2, 3, 4], history)
    loss, accuracy = figure.axes
    places = [np.asarray(line.get_xydata()).tolist() for line in loss.lines]
    assert places == [[[1, 4], [2, 3], [3, 2], [4, 1]], [[2, 3.5], [4, 2.5]]]
    assert [line.get_label() for line in accuracy.lines] == ["training"]
