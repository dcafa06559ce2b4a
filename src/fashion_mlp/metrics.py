"""The metrics of an epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


class EpochMetrics:
    """Metrics of one stage over one epoch.

    A step only appends small tensors; torchmetrics processes them once, at the end of the epoch. A step then costs a
    few microseconds instead of a hundred, and does not wait for the device.

    Args:
        stage: "train", "val" or "test", the prefix of each metric's name; "test" adds the accuracy of each class.
        class_names: the names of the classes, in the order of the logits.
        custom: further metrics by name, which get probabilities `[N, num_classes]` and labels `[N]`; they are copied.
    """

    def __init__(self, stage: str, class_names: Sequence[str], custom: Mapping[str, Metric] | None = None) -> None:
        self.stage = stage
        self.class_names = class_names
        num_classes = len(class_names)
        self.loss = MeanMetric()
        scores: dict[str, Metric | MetricCollection] = {
            "acc": MulticlassAccuracy(num_classes, average="micro"),
            "acc_macro": MulticlassAccuracy(num_classes, average="macro"),
            "f1_macro": MulticlassF1Score(num_classes, average="macro"),
        }
        if stage == "test":
            scores["acc_by_class"] = MulticlassAccuracy(num_classes, average="none")
        self.scores = MetricCollection(scores)
        # Without groups, since torchmetrics would group metrics that are equal in the first epoch by chance.
        self.custom = MetricCollection(dict(custom or {}), compute_groups=False).clone()
        self._batches: dict[str, list[Tensor]] = {"losses": [], "predictions": [], "labels": []}
        if custom:
            self._batches["logits"] = []
        self._sizes: list[int] = []

    def update(self, losses: Tensor, logits: Tensor, labels: Tensor, batch_size: int | None = None) -> None:
        """Add one or several batches.

        Args:
            losses: mean loss of each batch, float `[batches]`, or a scalar for a single batch.
            logits: the logits of all batches, float `[B, num_classes]`.
            labels: the labels of all batches, int64 `[B]`.
            batch_size: samples per batch, of which the last may have fewer; None for a single batch.
        """
        full, rest = divmod(len(labels), batch_size or len(labels))
        self._sizes += [batch_size or len(labels)] * full + [rest] * (rest > 0)
        self._batches["losses"].append(losses.detach().reshape(-1))
        self._batches["predictions"].append(logits.detach().argmax(1))
        self._batches["labels"].append(labels)
        if "logits" in self._batches:
            self._batches["logits"].append(logits.detach())

    @property
    def losses(self) -> Tensor:
        """The losses of this process since the last reset, float `[batches]`."""
        return torch.cat(self._batches["losses"])

    @property
    def num_samples(self) -> int:
        """The number of samples of this process since the last reset."""
        return sum(self._sizes)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics since the last reset by name, reduced over all processes."""
        losses, labels = self.losses, torch.cat(self._batches["labels"])
        self.loss.to(losses.device).update(losses, torch.tensor(self._sizes, dtype=losses.dtype, device=losses.device))
        self.scores.to(labels.device).update(torch.cat(self._batches["predictions"]), labels)
        if "logits" in self._batches:
            self.custom.to(labels.device).update(torch.cat(self._batches["logits"]).float().softmax(1), labels)
        values = {"loss": self.loss.compute(), **self.scores.compute(), **self.custom.compute()}
        for metric in (self.loss, self.scores, self.custom):
            metric.reset()
        by_class = values.pop("acc_by_class", ())
        values |= {f"acc/{name}": value for name, value in zip(self.class_names, by_class, strict=False)}
        return {f"{self.stage}/{name}": value for name, value in values.items()}

    def compute_and_reset(self) -> dict[str, Tensor]:
        """Return the metrics by name, reduced over all processes, and remove all batches."""
        values = self.compute()
        self.reset()
        return values

    def reset(self) -> None:
        """Remove all batches."""
        self.load_state_dict({"sizes": []})

    def state_dict(self) -> dict[str, Any]:
        """Return the batches of this process since the last reset, as plain values and tensors."""
        tensors = {name: torch.cat(batches) for name, batches in self._batches.items() if batches}
        return {**tensors, "sizes": list(self._sizes)}

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device | None = None) -> None:
        """Replace the batches by those of a state that `state_dict` returned, moved to `device`."""
        for name, batches in self._batches.items():
            batches[:] = [state_dict[name].to(device)] if name in state_dict else []
        self._sizes = list(state_dict["sizes"])
