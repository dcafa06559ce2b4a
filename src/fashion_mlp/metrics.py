"""Loss and accuracy of an epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


class EpochMetrics(nn.Module):
    """Metrics of one stage over one epoch.

    A step only appends small tensors; torchmetrics sees them once, at the epoch's end. That costs a step
    a few microseconds instead of a hundred, and waits for no device.

    Args:
        stage: "train", "val" or "test", the first part of each metric's name.
        class_names: in the order of the logits.
        detailed: whether to add macro-F1 and the accuracy of each class.
    """

    def __init__(self, stage: str, class_names: Sequence[str], *, detailed: bool = False) -> None:
        super().__init__()
        self.stage = stage
        self.class_names = class_names
        num_classes = len(class_names)
        self.loss = MeanMetric()
        self.scores = MetricCollection({"acc": MulticlassAccuracy(num_classes, average="micro")})
        if detailed:
            self.scores["f1_macro"] = MulticlassF1Score(num_classes, average="macro")
            self.scores["acc_by_class"] = MulticlassAccuracy(num_classes, average="none")
        self._kept: dict[str, list[Tensor]] = {"losses": [], "predictions": [], "labels": []}
        self._sizes: list[int] = []

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor, batch_size: int | None = None) -> None:
        """Take in a batch, or several.

        Args:
            losses: mean over each batch, `[batches]`, or a scalar if it is one.
            logits: of all batches, `[B, num_classes]`.
            labels: likewise, int64 `[B]`.
            batch_size: samples a batch, of which the last may have fewer; by default it is one batch.
        """
        full, rest = divmod(len(labels), batch_size or len(labels))
        self._sizes += [batch_size or len(labels)] * full + [rest] * (rest > 0)
        self._kept["losses"].append(losses.detach().reshape(-1))
        self._kept["predictions"].append(logits.detach().argmax(1))
        self._kept["labels"].append(labels)

    @property
    def losses(self) -> Tensor:
        """The losses taken in since the last `compute`, by this process, `[batches]`."""
        return torch.cat(self._kept["losses"])

    @property
    def num_samples(self) -> int:
        """Samples taken in since the last `compute`, by this process."""
        return sum(self._sizes)

    def unfinished(self) -> dict[str, Any]:
        """Return what was taken in since the last `compute`, as plain values and tensors, for a checkpoint."""
        tensors = {name: torch.cat(kept) for name, kept in self._kept.items() if kept}
        return {**tensors, "sizes": list(self._sizes)}

    def go_on(self, unfinished: Mapping[str, Any]) -> None:
        """Begin with what `unfinished` has returned."""
        for name, kept in self._kept.items():
            kept[:] = [unfinished[name].to(self.loss.device)] if name in unfinished else []
        self._sizes = list(unfinished["sizes"])

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name, over all processes, and start anew."""
        values = self.so_far()
        self.go_on({"sizes": []})
        return values

    def so_far(self) -> dict[str, Tensor]:
        """Return the metrics by name, over all processes, of what was taken in since the last `compute`."""
        losses = self.losses
        sizes = torch.tensor(self._sizes, dtype=losses.dtype, device=losses.device)
        self.loss.update(losses, sizes)
        self.scores.update(torch.cat(self._kept["predictions"]), torch.cat(self._kept["labels"]))
        values = {"loss": self.loss.compute(), **self.scores.compute()}
        self.loss.reset()
        self.scores.reset()
        by_class = values.pop("acc_by_class", ())
        values |= {f"acc/{name}": value for name, value in zip(self.class_names, by_class, strict=False)}
        return {f"{self.stage}/{name}": value for name, value in values.items()}
