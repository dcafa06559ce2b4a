"""Tests of the metrics of an epoch."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from fashion_mlp.config.monitoring import METRICS
from fashion_mlp.metrics import EpochMetrics

NAMES = ("hat", "sock", "glove")


def test_batches_are_weighted_by_their_sizes() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(70, 3), torch.randint(0, 3, (70,))
    metrics = EpochMetrics("val", NAMES)
    for batch in (slice(0, 64), slice(64, 70)):
        metrics.update(cross_entropy(logits[batch], labels[batch]), logits[batch], labels[batch])
    assert metrics.num_samples == 70
    computed = metrics.compute_and_reset()
    assert list(computed) == [f"val/{name}" for name in METRICS]
    assert computed["val/loss"].item() == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-6)
    assert computed["val/acc"].item() == pytest.approx((logits.argmax(1) == labels).double().mean().item())


def test_update_with_several_batches_equals_one_update_per_batch() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(70, 3), torch.randint(0, 3, (70,))
    batches = list(zip(torch.split(logits, 32), torch.split(labels, 32), strict=True))
    losses = [cross_entropy(*batch) for batch in batches]
    at_once, separately = EpochMetrics("train", NAMES), EpochMetrics("train", NAMES)
    at_once.update(torch.stack(losses), logits, labels, batch_size=32)
    for loss, batch in zip(losses, batches, strict=True):
        separately.update(loss, *batch)
    assert at_once.num_samples == separately.num_samples == 70
    assert at_once.losses.tolist() == separately.losses.tolist() == [float(loss) for loss in losses]
    assert at_once.compute_and_reset() == separately.compute_and_reset()


def test_compute_and_reset_starts_a_new_epoch() -> None:
    metrics = EpochMetrics("train", NAMES)
    wrong, right = torch.eye(3)[[1, 2, 0]], torch.eye(3)
    metrics.update(torch.tensor(1.0), wrong, torch.arange(3))
    assert metrics.compute_and_reset()["train/acc"] == 0
    metrics.update(torch.tensor(0.5), right, torch.arange(3))
    computed = metrics.compute_and_reset()
    assert [computed[name].item() for name in ("train/acc", "train/loss")] == [1, 0.5]


def test_macro_metrics_are_means_over_classes() -> None:
    metrics = EpochMetrics("val", NAMES)
    predicted, labels = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 2])
    metrics.update(torch.tensor(1.0), torch.eye(3)[predicted], labels)
    computed = metrics.compute_and_reset()
    assert computed["val/acc_macro"].item() == pytest.approx((1 + 1 / 2 + 1) / 3)
    # The F1 scores: hat 2/3, sock 2/3, glove 1.
    assert computed["val/f1_macro"].item() == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_custom_metrics_get_probabilities() -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(70, 3), torch.randint(0, 3, (70,))
    custom = {"top2": MulticlassAccuracy(3, top_k=2, average="micro"), "ece_error": MulticlassCalibrationError(3)}
    metrics, resumed = EpochMetrics("val", NAMES, custom), EpochMetrics("val", NAMES, custom)
    metrics.update(torch.tensor(1.0), logits[:40], labels[:40])
    resumed.load_state_dict(metrics.state_dict())
    for each in (metrics, resumed):
        each.update(torch.tensor(1.0), logits[40:], labels[40:])
    computed = metrics.compute_and_reset()
    assert resumed.compute_and_reset() == computed
    assert computed["val/top2"].item() == pytest.approx((logits.argmin(1) != labels).double().mean().item())
    assert computed["val/ece_error"].item() == custom["ece_error"](logits.softmax(1), labels).item()
    assert "logits" not in EpochMetrics("val", NAMES).state_dict()


def test_metrics_that_are_equal_by_chance_stay_apart() -> None:
    custom = {f"top{k}": MulticlassAccuracy(3, top_k=k, average="micro") for k in (2, 3)}
    metrics = EpochMetrics("val", NAMES, custom)
    metrics.update(torch.tensor(1.0), torch.eye(3), torch.arange(3))
    metrics.compute_and_reset()
    metrics.update(torch.tensor(1.0), torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([2]))
    computed = metrics.compute_and_reset()
    assert [computed[f"val/top{k}"].item() for k in (2, 3)] == [0, 1]


def test_per_class_metrics_have_class_names() -> None:
    metrics = EpochMetrics("test", NAMES)
    predicted, labels = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 2])
    metrics.update(torch.tensor(1.0), torch.eye(3)[predicted], labels)
    computed = metrics.compute_and_reset()
    assert [computed[f"test/acc/{name}"].item() for name in NAMES] == [1.0, 0.5, 1.0]
