"""Tests of the metrics of an epoch."""

import pytest
import torch
from torch.nn.functional import cross_entropy

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
    assert list(computed) == [f"val/{metric.name}" for metric in METRICS]
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


def test_per_class_metrics_have_class_names() -> None:
    metrics = EpochMetrics("test", NAMES, per_class=True)
    predicted, labels = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 2])
    metrics.update(torch.tensor(1.0), torch.eye(3)[predicted], labels)
    computed = metrics.compute_and_reset()
    assert [computed[f"test/acc/{name}"].item() for name in NAMES] == [1.0, 0.5, 1.0]
    # The F1 scores: hat 2/3, sock 2/3, glove 1.
    assert computed["test/f1_macro"].item() == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
