"""The LightningModule: loss, metrics, optimizer, what is logged."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from fashion_mlp.data import Augmentation
from fashion_mlp.data.batches import limit_batches
from fashion_mlp.metrics import EpochMetrics
from fashion_mlp.schedulers import Schedule

Batch = tuple[Tensor, Tensor]

# Where a checkpoint holds the classifier's metadata.
METADATA_KEY = "fashion_mlp"


class Predictions(NamedTuple):
    """The likeliest class of each image, by name, and the probabilities of all classes, `[N, num_classes]`."""

    names: list[str]
    probabilities: Tensor


class Classifier(LightningModule):
    """An image classifier: a network from raw pixels to logits, and how it is trained.

    A batch is a pair: images, uint8 `[B, C, H, W]`, and labels, int64 `[B]`.

    Args:
        model: the network.
        class_names: in the order of the logits.
        optimizer: makes the optimizer from the parameters; not needed to evaluate.
        scheduler: makes the learning-rate schedule from the optimizer and the number of steps.
        label_smoothing: of the training loss only (arXiv 1512.00567), 0 to less than 1; validation and test
            report the plain cross-entropy.
        augment: what is done to each minibatch that is learned from; by default nothing.
        metadata: plain values that each checkpoint carries, from which `fashion_mlp.load_classifier` rebuilds
            the classifier.
    """

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        *,
        optimizer: Callable[[Iterable[Parameter]], Optimizer] | None = None,
        scheduler: Schedule | None = None,
        label_smoothing: float = 0.0,
        augment: Augmentation | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.class_names = tuple(class_names)
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.metadata = dict(metadata or {})
        self.augment = augment or Augmentation()
        # The step after which minibatches are no longer augmented, known once training starts.
        self.augmented_steps = 0.0
        self.train_loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.eval_loss = nn.CrossEntropyLoss()
        self.train_metrics = EpochMetrics("train", class_names)
        self.val_metrics = EpochMetrics("val", class_names)
        self.test_metrics = EpochMetrics("test", class_names, detailed=True)
        # The rate of each step of this epoch; of a resumed run, of the last step before and of each since then.
        self.learning_rates = [math.nan]
        # Training images that this process has gone through.
        self.samples_seen = 0
        # How many epochs there were when it was last validated: what was logged of that is of the last of them.
        self.validated_epochs = 0
        # When training began, with all processes started; of a resumed run, as if it had never been interrupted.
        self.began = time.perf_counter()
        self._seconds_before = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, num_classes]` of raw pixels."""
        logits: Tensor = self.model(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.learning_rates.append(self.learning_rate)
        loss, logits = self.model_step(batch, self.global_step + 1)
        self.train_metrics.add(loss, logits, batch[1])
        return loss

    def model_step(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Return loss and logits of a minibatch; log the loss every `trainer.log_every_n_steps` steps.

        Args:
            batch: images, uint8 `[B, C, H, W]`, and labels, int64 `[B]`.
            step: the optimizer step that it is for, counted from 1.
        """
        images, targets = batch
        if step <= self.augmented_steps:
            images, targets = self.augment(images, targets, len(self.class_names))
        logits: Tensor = self.model(images)
        loss: Tensor = self.train_loss(logits, targets)
        if step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set at run time
            shown = self.trainer.strategy.reduce(loss.detach().clone(), reduce_op="mean")
            self.log("train/loss_step", shown, prog_bar=True, logger=False)
            for logger in self.loggers:
                logger.log_metrics({"train/loss_step": float(shown), "lr": self.learning_rate}, step)
        return loss, logits

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.evaluate(batch, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.evaluate(batch, self.test_metrics)

    def on_train_start(self) -> None:
        off_fraction = self.augment.off_fraction
        augmented_steps = round((1 - off_fraction) * self.total_steps()) if off_fraction else math.inf
        self.augmented_steps = augmented_steps if self.augment.is_on else 0
        self.began = time.perf_counter() - self._seconds_before

    def on_train_epoch_start(self) -> None:
        self.learning_rates.clear()

    def on_train_epoch_end(self) -> None:
        self.samples_seen += self.train_metrics.num_samples
        self.log_epoch(self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        self.log_epoch(self.val_metrics)
        if not self.trainer.sanity_checking:
            self.validated_epochs = self.current_epoch + 1

    def on_test_epoch_end(self) -> None:
        self.log_epoch(self.test_metrics)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        assert self.optimizer_factory is not None, "a classifier without an optimizer cannot be trained"
        optimizer = self.optimizer_factory(self.parameters())
        if self.scheduler_factory is None:
            return optimizer
        schedule = self.scheduler_factory(optimizer, self.total_steps())
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def total_steps(self) -> int:
        """Return the number of optimizer steps of the whole run, or of one epoch where it has no end.

        Lightning's own `estimated_stepping_batches` would start the loader before a resumed run knows where to.
        """
        trainer = self.trainer
        minibatches = trainer.datamodule.num_minibatches()  # type: ignore[attr-defined]  # set at run time
        batches = limit_batches(minibatches, trainer.limit_train_batches)
        steps_per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
        limits = [trainer.max_steps] if trainer.max_steps != -1 else []
        if trainer.max_epochs not in (None, -1):
            limits.append(steps_per_epoch * trainer.max_epochs)
        return min(limits, default=steps_per_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        metrics = self.logged_metrics()
        if self.trainer.validating:  # the training of this epoch is not logged yet
            metrics |= {name: float(value) for name, value in self.train_metrics.so_far().items()}
        checkpoint[METADATA_KEY] = {**self.metadata, "metrics": metrics}

    def progress(self) -> dict[str, Any]:
        """Return what this process has come to, as plain values and tensors, for a run that is resumed."""
        return {
            "samples_seen": self.samples_seen,
            "seconds": time.perf_counter() - self.began,
            "validated_epochs": self.validated_epochs,
            "learning_rates": self.learning_rates[-1:],
            "train_metrics": self.train_metrics.unfinished(),
        }

    def go_on(self, progress: Mapping[str, Any]) -> None:
        """Begin with what `progress` has returned."""
        self.samples_seen = progress["samples_seen"]
        self.validated_epochs = progress["validated_epochs"]
        self.learning_rates = list(progress["learning_rates"])
        self.train_metrics.go_on(progress["train_metrics"])
        self._seconds_before = progress["seconds"]
        self.began = time.perf_counter() - self._seconds_before  # on_train_start may not come: all may be done

    def logged_metrics(self) -> dict[str, float]:
        """Return what the last epoch of each stage came to, by name."""
        logged = self.trainer.callback_metrics.items()
        return {name: float(value) for name, value in logged if "/" in name and not name.endswith("_step")}

    def epoch_metrics(self) -> dict[str, float]:
        """Return what the last complete epoch came to, by name: of validation only what took place in it."""
        metrics = self.logged_metrics()
        if self.validated_epochs != self.current_epoch:
            metrics = {name: value for name, value in metrics.items() if not name.startswith("val/")}
        return metrics

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first parameter group, with which the next step is taken."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Predictions:
        """Classify images, in evaluation mode and without gradients.

        Args:
            images: raw pixels, uint8 or 0..255, `[N, C, H, W]`, on any device.
        """
        was_training = self.training
        self.eval()
        try:
            probabilities = self(images.to(self.device)).float().softmax(1).cpu()
        finally:
            self.train(was_training)
        return Predictions([self.class_names[index] for index in probabilities.argmax(1).tolist()], probabilities)

    def evaluate(self, batch: Batch, metrics: EpochMetrics) -> Tensor:
        """Take a batch into the metrics, its loss without label smoothing, and return its logits."""
        images, labels = batch
        logits: Tensor = self(images)
        metrics.add(self.eval_loss(logits, labels), logits, labels)
        return logits

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Log the metrics of an epoch to the callbacks, and to the loggers at the optimizer step."""
        values = metrics.compute()
        for name, value in values.items():
            # Already those of all processes; sync_dist only tells Lightning so.
            self.log(name, value, prog_bar=name.endswith(("/loss", "/acc")), logger=False, sync_dist=True)
        if self.trainer.sanity_checking:
            return
        # Not by `self.log`, which counts calls of `training_step`.
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in values.items()}, self.global_step)
            logger.save()
