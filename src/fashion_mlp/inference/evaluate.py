"""A classifier measured on labelled images."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.module import Batch
from fashion_mlp.models.ensemble import log_mean_probabilities

# As Guo et al. (2017, arXiv 1706.04599) have them.
CALIBRATION_BINS = 15


class EvalOutput(NamedTuple):
    """What a classifier answered: logits `[N, num_classes]` and the true labels, int64 `[N]`, on the CPU."""

    logits: Tensor
    labels: Tensor


@torch.inference_mode()
def collect_outputs(classifier: Classifier, batches: Iterable[Batch]) -> EvalOutput:
    """Put batches of images through a classifier that is in evaluation mode."""
    logits, labels = [], []
    for images, truth in batches:
        logits.append(classifier(images.to(classifier.device)).float().cpu())
        labels.append(truth.cpu())
    return EvalOutput(torch.cat(logits), torch.cat(labels))


def average(outcomes: Sequence[EvalOutput]) -> EvalOutput:
    """Return what an ensemble answers, from what its members answered on the same images."""
    return EvalOutput(log_mean_probabilities(torch.stack([outcome.logits for outcome in outcomes])), outcomes[0].labels)


def compute_metrics(outcome: EvalOutput, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return the figures that describe an outcome, as plain values.

    `accuracy`, its binomial standard error, `loss`, `macro_f1` and `calibration_error` (expected, in 15 bins) are
    numbers from 0 up; `classes` holds precision, recall, F1 and the number of images of each class; `confusions` the
    pairs that were mistaken, most frequent first.
    """
    logits, labels = outcome
    count, num_classes = len(labels), len(class_names)
    predictions = logits.argmax(1)
    accuracy = int((predictions == labels).sum()) / count
    scores = {
        "precision": multiclass_precision(predictions, labels, num_classes, average="none"),
        "recall": multiclass_recall(predictions, labels, num_classes, average="none"),
        "f1": multiclass_f1_score(predictions, labels, num_classes, average="none"),
    }
    matrix = confusion_matrix(outcome, num_classes)
    wrong = matrix.clone().fill_diagonal_(0)
    confusions = sorted(wrong.nonzero().tolist(), key=lambda pair: -int(wrong[tuple(pair)]))
    return {
        "accuracy": accuracy,
        "accuracy_standard_error": (accuracy * (1 - accuracy) / count) ** 0.5,
        "loss": float(cross_entropy(logits, labels)),
        "macro_f1": float(multiclass_f1_score(predictions, labels, num_classes, average="macro")),
        "calibration_error": float(
            multiclass_calibration_error(logits.softmax(1), labels, num_classes, n_bins=CALIBRATION_BINS)
        ),
        "images": count,
        "classes": {
            name: {**{score: float(values[i]) for score, values in scores.items()}, "images": int(matrix[i].sum())}
            for i, name in enumerate(class_names)
        },
        "confusions": [
            {"true": class_names[true], "predicted": class_names[predicted], "count": int(matrix[true, predicted])}
            for true, predicted in confusions
        ],
    }


def confusion_matrix(outcome: EvalOutput, num_classes: int) -> Tensor:
    """Return how often a class, by row, was taken for another, by column: int64 `[num_classes, num_classes]`."""
    matrix: Tensor = multiclass_confusion_matrix(outcome.logits.argmax(1), outcome.labels, num_classes)
    return matrix


def reliability(outcome: EvalOutput) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a reliability diagram shows (Guo et al., 2017, arXiv 1706.04599).

    Returns:
        Mean confidence and accuracy, 0 to 1 and NaN in an empty bin, and the number of answers, all
        `[CALIBRATION_BINS]`: of the answers in each of as many bins of confidence, of equal width from 0 to 1.
    """
    confidences, predictions = outcome.logits.softmax(1).max(1)
    upper_edges = torch.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = torch.bucketize(confidences, upper_edges)
    counts = torch.bincount(bins, minlength=CALIBRATION_BINS)
    confidence = torch.bincount(bins, confidences, CALIBRATION_BINS) / counts
    accuracy = torch.bincount(bins, (predictions == outcome.labels).float(), CALIBRATION_BINS) / counts
    return confidence, accuracy, counts


def most_confident_mistakes(outcome: EvalOutput, count: int) -> Tensor:
    """Return the indices of the wrong answers with the highest probabilities, highest first; at most `count`."""
    probabilities, predictions = outcome.logits.softmax(1).max(1)
    probabilities[predictions == outcome.labels] = -1
    order = probabilities.argsort(descending=True, stable=True)
    return order[: min(count, int((predictions != outcome.labels).sum()))]
