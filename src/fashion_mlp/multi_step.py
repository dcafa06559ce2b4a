"""Several optimizer steps in one call of `training_step`, so that Lightning's own work is done less often.

Around each `training_step` Lightning runs some thirty hooks, which for a small network cost as much as its arithmetic.
Keras calls the remedy `steps_per_execution`. The minibatches, their order and the arithmetic stay the same: weights are
bit-identical to those of one step a call, which a test holds.
"""

from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint, ProgressBar
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import LRSchedulerPLType, OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fashion_mlp.callbacks import TerminateOnNaN
from fashion_mlp.checkpoint.training_state import TrainingStateCheckpoint
from fashion_mlp.classifier import Batch, Classifier

# The Trainer's arguments that work alike however many steps a call takes.
SAFE_TRAINER_ARGS = {
    "_target_",
    "accelerator",
    "benchmark",
    "check_val_every_n_epoch",
    "default_root_dir",
    "deterministic",
    "devices",
    "enable_autolog_hparams",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "inference_mode",
    "limit_predict_batches",
    "limit_test_batches",
    "limit_val_batches",
    "log_every_n_steps",
    "max_epochs",
    "max_time",
    "min_epochs",
    "num_sanity_val_steps",
}
# Those of the Trainer that keep the weights in 32 bits and scale no loss.
PRECISIONS = (None, 32, "32", "32-true", "bf16", "bf16-mixed")
STEP_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_backward",
    "on_after_backward",
    "on_before_zero_grad",
    "on_before_optimizer_step",
)


class MultiStepClassifier(Classifier):
    """A classifier whose training batches hold several minibatches, each of which is a step.

    Args:
        *arguments: those of `Classifier`.
        batch_size: images a minibatch; the last one of an epoch may be smaller.
        **keywords: those of `Classifier`.
    """

    def __init__(self, *arguments: Any, batch_size: int, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.automatic_optimization = False
        self.batch_size = batch_size
        self.monitor = ""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        scheduler = self._scheduler("step")
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        losses, all_logits = [], []
        minibatches = zip(*(torch.split(part, self.batch_size) for part in batch), strict=True)
        for step, minibatch in enumerate(minibatches, start=self.global_step + 1):
            self.learning_rates.append(optimizer.param_groups[0]["lr"])
            loss, logits = self.model_step(minibatch, step)
            for parameter in parameters:  # a tenth of what `optimizer.zero_grad()` takes to do the same
                parameter.grad = None
            # Lightning calls `training_step` within the precision's autocast, and goes backward without.
            with torch.autocast(self.device.type, enabled=False):
                loss.backward()  # type: ignore[no-untyped-call]
                # What `optimizer.step()` does, less its way through strategy, precision and hooks, which at these
                # precisions on one device do nothing and cost an eighth of it. Before and after, Lightning counts.
                optimizer._on_before_step()
                optimizer.optimizer.step()
                optimizer._on_after_step()
            if scheduler is not None:
                scheduler.step()
            losses.append(loss.detach())
            all_logits.append(logits.detach())
        # Once a call: thousands of small tensors, kept for an epoch among large ones, would tear the heap into pieces.
        self.train_metrics.update(torch.stack(losses), torch.cat(all_logits), batch[1], self.batch_size)
        return torch.stack(losses).mean()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        configured = super().configure_optimizers()
        if isinstance(configured, dict):
            # Lightning steps no schedule under manual optimization, and warns of a key that it would not use.
            self.monitor = configured["lr_scheduler"].pop("monitor", "")  # type: ignore[typeddict-item]
        return configured

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        scheduler = self._scheduler("epoch")
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(self.trainer.callback_metrics[self.monitor])
        elif scheduler is not None:
            scheduler.step()

    def _scheduler(self, interval: str) -> LRSchedulerPLType | None:
        configs = self.trainer.lr_scheduler_configs
        return configs[0].scheduler if configs and configs[0].interval == interval else None


def supports_multi_step(trainer: Mapping[str, Any], callbacks: Iterable[Callback]) -> bool:
    """Return whether a run may take several steps a call: whether nothing in it looks at each single step.

    Args:
        trainer: the Trainer's arguments.
        callbacks: those of the run.
    """
    has_end = trainer["max_epochs"] not in (None, -1)
    one_device = trainer["devices"] in (1, "1", "auto") and trainer["strategy"] == "auto"
    others = {name: value for name, value in trainer.items() if name not in SAFE_TRAINER_ARGS}
    defaults = signature(Trainer).parameters
    as_usual = others.pop("precision") in PRECISIONS and all(
        name in defaults and value == defaults[name].default for name, value in others.items()
    )
    return has_end and one_device and as_usual and not any(map(needs_step_hooks, callbacks))


def needs_step_hooks(callback: Callback) -> bool:
    """Return True if a callback must run before or after each optimizer step."""
    if isinstance(callback, TerminateOnNaN | ProgressBar | TrainingStateCheckpoint):
        return False
    if isinstance(callback, ModelCheckpoint):
        return callback._every_n_train_steps > 0 or callback._train_time_interval is not None
    if isinstance(callback, GradientAccumulationScheduler):
        return True
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in STEP_HOOKS)
