"""The LightningModule: loss, metrics and optimizer."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from fashion_mlp.config.monitoring import DEFAULT_OBJECTIVE
from fashion_mlp.data import Augmentation
from fashion_mlp.data.batch_counts import limit_batches
from fashion_mlp.data.module import Batch
from fashion_mlp.metrics import EpochMetrics
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.schedulers import SchedulerFactory

# Entry of a checkpoint with the classifier's metadata.
METADATA_KEY = "fashion_mlp"


class Predictions(NamedTuple):
    """The names of the predicted classes, `[N]`, and the probabilities of all classes, float `[N, num_classes]`."""

    names: list[str]
    probabilities: Tensor


class Classifier(LightningModule):
    """Train and evaluate an image classifier.

    A batch is a pair: images, uint8 `[B, C, H, W]`, and labels, int64 `[B]`.

    Args:
        model: network from raw pixels, uint8 `[B, C, H, W]`, to logits, float `[B, num_classes]`.
        class_names: the names of the classes, in the order of the logits.
        optimizer: returns an optimizer for some parameters; not needed for evaluation.
        scheduler: returns a learning-rate schedule for an optimizer and a number of steps, which the Trainer's
            `ImageDataModule` determines.
        label_smoothing: smoothing of the training loss (arXiv 1512.00567), from 0 to less than 1. Validation and test
            use the plain cross-entropy.
        class_weights: weights of the training loss, float `[num_classes]`; None for equal weights.
        objective: a metric to show and plot besides loss and accuracy, such as "val/f1_macro".
        metrics: further metrics by name, which get probabilities `[N, num_classes]` and labels `[N]`.
        augment: augmentation of the training batches; None for no augmentation.
        compile: if True, compile the network with `torch.compile` before training.
        metadata: plain values that each checkpoint contains; `fashion_mlp.load_classifier` rebuilds the classifier
            from them.

    Attributes:
        shown_metrics: loss, accuracy and the objective, without their splits: the metrics in the line of an epoch.
        plotted_metrics: these and the further metrics: those in the learning curves and in the table of results.
        last_learning_rate: the rate of the last step, of the first parameter group; NaN before the first step.
    """

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        *,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        scheduler: SchedulerFactory | None = None,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        objective: str = DEFAULT_OBJECTIVE,
        metrics: Mapping[str, Metric] | None = None,
        augment: Augmentation | None = None,
        compile: bool = False,  # noqa: A002, the name in torch
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.class_names = tuple(class_names)
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.metadata = dict(metadata or {})
        self.augment = augment or Augmentation()
        self.augmented_steps = 0.0  # known once training starts
        self.compile_model = compile
        self.train_loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        # Not persistent: a checkpoint has only the network's tensors.
        self.train_loss.register_buffer("weight", class_weights, persistent=False)
        self.eval_loss = nn.CrossEntropyLoss()
        self.train_metrics = EpochMetrics("train", class_names, metrics)
        self.val_metrics = EpochMetrics("val", class_names, metrics)
        self.test_metrics = EpochMetrics("test", class_names, metrics)
        self.shown_metrics = list(dict.fromkeys(["loss", "acc", objective.rpartition("/")[2]]))
        self.plotted_metrics = list(dict.fromkeys([*self.shown_metrics, *(metrics or {})]))
        self.last_learning_rate = math.nan

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, num_classes]` of raw pixels."""
        logits: Tensor = self.model(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        step = self.global_step + 1
        loss, logits = self.compute_training_loss(batch, step)
        self.log_step(loss, float(self.trainer.optimizers[0].param_groups[0]["lr"]), step)
        self.train_metrics.update(loss, logits, batch[1])
        return loss

    def compute_training_loss(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Return loss and logits of a batch.

        Args:
            batch: images, uint8 `[B, C, H, W]`, and labels, int64 `[B]`.
            step: number of the optimizer step, from 1.
        """
        images, targets = batch
        if step <= self.augmented_steps:
            images, targets = self.augment(images, targets, len(self.class_names))
        logits: Tensor = self.model(images)
        loss: Tensor = self.train_loss(logits, targets)
        return loss, logits

    def log_step(self, loss: Tensor, learning_rate: float, step: int) -> None:
        """Log the loss of an optimizer step, every `trainer.log_every_n_steps` steps."""
        self.last_learning_rate = learning_rate
        if step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set at run time
            mean_loss = self.trainer.strategy.reduce(loss.detach().clone(), reduce_op="mean")
            self.log("train/loss_step", mean_loss, prog_bar=True, logger=False)
            for logger in self.loggers:
                logger.log_metrics({"train/loss_step": float(mean_loss), "train/lr": learning_rate}, step)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.evaluate(batch, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.evaluate(batch, self.test_metrics)

    def on_fit_start(self) -> None:
        if self.compile_model:
            self.model.compile()

    def on_train_start(self) -> None:
        off_fraction = self.augment.off_fraction
        augmented_steps = round((1 - off_fraction) * self.total_steps()) if off_fraction else math.inf
        self.augmented_steps = augmented_steps if self.augment.is_on else 0

    def on_train_epoch_end(self) -> None:
        self.log_epoch(self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        self.log_epoch(self.val_metrics)

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
        """Return the number of optimizer steps of the run; that of one epoch if the run has no limit.

        Lightning's `estimated_stepping_batches` would create the iterator of the dataloader before the position of a
        resumed run is restored.
        """
        trainer = self.trainer
        epoch = trainer.datamodule.num_batches()  # type: ignore[attr-defined]  # set at run time
        batches = limit_batches(epoch, trainer.limit_train_batches)
        steps_per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
        limits = trainer.max_steps, steps_per_epoch * (trainer.max_epochs or -1)  # -1: no limit
        return min((limit for limit in limits if limit > 0), default=steps_per_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        metrics = self.logged_metrics()
        if self.trainer.validating:  # the training metrics of this epoch are not logged yet
            metrics |= {name: float(value) for name, value in self.train_metrics.compute().items()}
        checkpoint[METADATA_KEY] = {**self.metadata, "metrics": metrics}

    def epoch_state_dict(self) -> dict[str, Any]:
        """Return the state of the current epoch in this process, as plain values and tensors."""
        return {"learning_rate": self.last_learning_rate, "train_metrics": self.train_metrics.state_dict()}

    def load_epoch_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state that `epoch_state_dict` returned."""
        self.last_learning_rate = state_dict["learning_rate"]
        self.train_metrics.load_state_dict(state_dict["train_metrics"], self.device)

    def logged_metrics(self, prefix: str = "") -> dict[str, float]:
        """Return the last logged metrics of each stage by name, of those whose name starts with `prefix`."""
        logged = {name: value for name, value in self.trainer.callback_metrics.items() if name.startswith(prefix)}
        return {name: float(value) for name, value in logged.items() if "/" in name and name != "train/loss_step"}

    @torch.inference_mode()
    def predict(self, images: Any) -> Predictions:
        """Classify a batch in evaluation mode, without gradients.

        Args:
            images: tensor, uint8 `[N, C, H, W]`, in the form of the training images. A classifier of
                `fashion_mlp.load_classifier` also takes photographs.

        Raises:
            UserError: the images have another type or shape.
        """
        if not isinstance(images, Tensor):
            raise UserError("images: not a tensor. Use a classifier of fashion_mlp.load_classifier for photographs")
        return self.name_classes(self.predict_probabilities(images))

    def predict_probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities of all classes, float `[N, num_classes]`, on the CPU, of images as in `predict`."""
        shape = self.metadata["model"]["image_shape"] if "model" in self.metadata else list(images.shape[1:])
        if images.dtype != torch.uint8 or list(images.shape[1:]) != list(shape):
            raise UserError(
                f"images: {images.dtype} of the shape {list(images.shape)}. Expected uint8 from 0 to 255 of the shape "
                f"{['N', *shape]}".replace("'", "")
            )
        was_training = self.training
        self.eval()
        try:
            return self(images.to(self.device)).float().softmax(1).cpu()  # type: ignore[no-any-return]
        finally:
            self.train(was_training)

    def name_classes(self, probabilities: Tensor) -> Predictions:
        """Return probabilities, `[N, num_classes]`, with the name of the most probable class of each image."""
        return Predictions([self.class_names[index] for index in probabilities.argmax(1).tolist()], probabilities)

    def evaluate(self, batch: Batch, metrics: EpochMetrics) -> Tensor:
        """Update metrics with a batch, its loss without label smoothing, and return its logits."""
        images, labels = batch
        logits: Tensor = self(images)
        metrics.update(self.eval_loss(logits, labels), logits, labels)
        return logits

    def log_epoch(self, metrics: EpochMetrics) -> None:
        """Log the metrics of an epoch, to the loggers at the current optimizer step, and reset them."""
        values = metrics.compute_and_reset()
        for name, value in values.items():
            # The values are reduced over all processes already; without sync_dist Lightning warns.
            is_shown = name.partition("/")[2] in self.shown_metrics
            self.log(name, value, prog_bar=is_shown, logger=False, sync_dist=True)
        if self.trainer.sanity_checking:
            return
        # `self.log` would count calls of `training_step` instead of optimizer steps.
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in values.items()}, self.global_step)
            logger.save()
