"""Metrics of a classifier on labelled images."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_confusion_matrix

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.module import Batch

# As in Guo et al., 2017 (arXiv 1706.04599).
CALIBRATION_BINS = 15


class EvalOutput(NamedTuple):
    """The outputs of a classifier: logits `[N, num_classes]` and the true labels, int64 `[N]`, on the CPU."""

    logits: Tensor
    labels: Tensor


@torch.inference_mode()
def collect_outputs(classifier: Classifier, batches: Iterable[Batch]) -> EvalOutput:
    """Return the outputs of a classifier, which is in evaluation mode, on batches of images."""
    logits, labels = [], []
    for images, targets in batches:
        logits.append(classifier(images.to(classifier.device)).float().cpu())
        labels.append(targets.cpu())
    return EvalOutput(torch.cat(logits), torch.cat(labels))


def compute_metrics(output: EvalOutput, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of an output as plain values.

    Returns:
        `accuracy`, its binomial `accuracy_standard_error`, `loss`, `macro_f1`, and the expected `calibration_error`;
        `classes`, with precision, recall, F1 and number of images by class; `confusions`, the pairs of classes that
        were confused, most frequent first.
    """
    count = len(output.labels)
    matrix = confusion_matrix(output, len(class_names))
    correct, predicted, true = matrix.diag(), matrix.sum(0), matrix.sum(1)
    scores = {
        "precision": correct / predicted.clamp(min=1),
        "recall": correct / true.clamp(min=1),
        "f1": 2 * correct / (predicted + true).clamp(min=1),
    }
    accuracy = int(correct.sum()) / count
    confidence, accuracy_of_bin, size = reliability(output)
    errors = matrix.clone().fill_diagonal_(0)
    return {
        "accuracy": accuracy,
        "accuracy_standard_error": (accuracy * (1 - accuracy) / count) ** 0.5,
        "loss": float(cross_entropy(output.logits, output.labels)),
        "macro_f1": float(scores["f1"][predicted + true > 0].mean()),
        "calibration_error": float(((confidence - accuracy_of_bin).abs() * size).nansum() / count),
        "images": count,
        "classes": {
            name: {**{score: float(values[i]) for score, values in scores.items()}, "images": int(true[i])}
            for i, name in enumerate(class_names)
        },
        "confusions": [
            {"true": class_names[row], "predicted": class_names[column], "count": int(errors[row, column])}
            for row, column in sorted(errors.nonzero().tolist(), key=lambda pair: -int(errors[tuple(pair)]))
        ],
    }


def confusion_matrix(output: EvalOutput, num_classes: int) -> Tensor:
    """Return the number of images of each true class (row) by predicted class (column), int64 `[C, C]`."""
    return multiclass_confusion_matrix(output.logits.argmax(1), output.labels, num_classes)


def reliability(output: EvalOutput) -> tuple[Tensor, Tensor, Tensor]:
    """Return the values of a reliability diagram (Guo et al., 2017, arXiv 1706.04599).

    Returns:
        Mean confidence, accuracy and number of images of each of `CALIBRATION_BINS` bins of confidence, which divide
        0 to 1 equally. The first two are NaN in an empty bin.
    """
    confidences, predictions = output.logits.softmax(1).max(1)
    inner_edges = torch.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = torch.bucketize(confidences, inner_edges)
    counts = torch.bincount(bins, minlength=CALIBRATION_BINS)
    confidence = torch.bincount(bins, confidences, CALIBRATION_BINS) / counts
    accuracy = torch.bincount(bins, (predictions == output.labels).float(), CALIBRATION_BINS) / counts
    return confidence, accuracy, counts


def most_confident_mistakes(output: EvalOutput, count: int) -> Tensor:
    """Return the indices of at most `count` misclassified images, the most confident prediction first."""
    confidences, predictions = output.logits.softmax(1).max(1)
    mistakes = (predictions != output.labels).nonzero().flatten()
    return mistakes[confidences[mistakes].argsort(descending=True, stable=True)][:count]


def last_hidden_layer(classifier: Classifier, images: Tensor) -> Tensor:
    """Return the input of the last linear layer, `[N, width]`, on the CPU; the pixels if there is no hidden layer.

    Args:
        classifier: in evaluation mode.
        images: raw pixels, uint8 `[N, C, H, W]`.
    """
    inputs: list[Tensor] = []
    last = [module for module in classifier.model.modules() if isinstance(module, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    classifier.predict(images)
    hook.remove()
    return inputs[0].float().cpu()
