"""Tests of the metrics of an evaluation."""

import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from fashion_mlp.inference.evaluate import (
    CALIBRATION_BINS,
    EvalOutput,
    compute_metrics,
    confusion_matrix,
    most_confident_mistakes,
    reliability,
)
from fashion_mlp.models.averaging import log_mean_probabilities

NAMES = ("hat", "sock", "glove")
#                                right  right  wrong (sock for hat)  wrong (glove for sock)
PROBABILITIES = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.05, 0.9, 0.05], [0.2, 0.3, 0.5]])
OUTPUT = EvalOutput(PROBABILITIES.log(), torch.tensor([0, 1, 0, 1]))


def test_metrics_equal_values_from_their_definitions() -> None:
    metrics = compute_metrics(OUTPUT, NAMES)
    assert (metrics["accuracy"], metrics["accuracy_standard_error"], metrics["images"]) == (0.5, 0.25, 4)
    truths = torch.tensor([0.8, 0.6, 0.05, 0.3])
    assert metrics["loss"] == pytest.approx(-truths.log().mean().item())
    assert metrics["classes"]["hat"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "images": 2}
    assert metrics["classes"]["sock"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "images": 2}
    assert metrics["classes"]["glove"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "images": 0}
    assert metrics["confusions"] == [
        {"true": "hat", "predicted": "sock", "count": 1},
        {"true": "sock", "predicted": "glove", "count": 1},
    ]
    # Each of the four images is in another bin: the mean of |accuracy - confidence|.
    assert metrics["calibration_error"] == pytest.approx((0.2 + 0.4 + 0.9 + 0.5) / 4)


def test_metrics_of_an_ensemble_use_mean_probabilities() -> None:
    others = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.4, 0.3], [0.85, 0.1, 0.05], [0.2, 0.7, 0.1]])
    # Adding a constant to all logits changes nothing.
    output = EvalOutput(log_mean_probabilities(torch.stack([OUTPUT.logits, others.log() - 7])), OUTPUT.labels)
    metrics = compute_metrics(output, NAMES)
    assert metrics["accuracy"] == 0.75  # the third is wrong: 0.5 for sock, 0.45 for hat
    truths = torch.tensor([0.7, 0.5, 0.45, 0.5])
    assert metrics["loss"] == pytest.approx(-truths.log().mean().item())
    # Two bins: one image with confidence 0.7, and three with 0.5, of which two are right.
    assert metrics["calibration_error"] == pytest.approx((0.3 + abs(2 - 1.5)) / 4, abs=1e-6)


def test_rows_of_a_confusion_matrix_are_true_classes() -> None:
    assert confusion_matrix(OUTPUT, 3).tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_most_confident_mistakes_are_sorted() -> None:
    assert most_confident_mistakes(OUTPUT, 10).tolist() == [2, 3]
    assert most_confident_mistakes(OUTPUT, 1).tolist() == [2]
    right = EvalOutput(OUTPUT.logits, PROBABILITIES.argmax(1))
    assert most_confident_mistakes(right, 3).tolist() == []


def test_metrics_equal_those_of_torchmetrics() -> None:
    torch.manual_seed(0)
    output = EvalOutput(3 * torch.randn(500, 5), torch.randint(0, 4, (500,)))
    output.logits[:, 3] = -100  # never predicted, and the last class never occurs
    metrics = compute_metrics(output, tuple("abcde"))
    scores = {"precision": multiclass_precision, "recall": multiclass_recall, "f1": multiclass_f1_score}
    predictions = output.logits.argmax(1)
    for name, score in scores.items():
        expected = score(predictions, output.labels, 5, average="none")
        assert [scores[name] for scores in metrics["classes"].values()] == pytest.approx(expected.tolist())
    macro_f1 = multiclass_f1_score(predictions, output.labels, 5, average="macro")
    assert metrics["macro_f1"] == pytest.approx(float(macro_f1))
    error = multiclass_calibration_error(output.logits.softmax(1), output.labels, 5, n_bins=CALIBRATION_BINS)
    assert metrics["calibration_error"] == pytest.approx(float(error), abs=1e-5)


def test_bins_of_reliability_are_equally_wide() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.91, 0.09], [0.3, 0.7]])
    confidence, accuracy, counts = reliability(EvalOutput(probabilities.log(), torch.tensor([0, 1, 1])))
    assert counts.nonzero().flatten().tolist() == [10, 13]
    assert confidence[[10, 13]].tolist() == pytest.approx([0.7, 0.905])
    assert accuracy[[10, 13]].tolist() == [1.0, 0.5]
