"""Several optimizer steps in one call of `training_step`, to reduce the overhead of Lightning.

Lightning runs some thirty hooks around each `training_step`, which for a small network cost as much as its arithmetic.
As with `steps_per_execution` in Keras, the DataLoader here returns several batches at once, and `training_step` splits
them and runs an optimizer step for each. The batches, their order and the arithmetic do not change: the weights are
bit-identical to those of single steps, which a test checks.
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

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.module import Batch

# Arguments of the Trainer that work with any number of steps per call of `training_step`.
SAFE_TRAINER_ARGS = {
    *("_target_", "accelerator", "benchmark", "check_val_every_n_epoch", "default_root_dir", "deterministic"),
    *("devices", "enable_autolog_hparams", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"),
    *("inference_mode", "limit_predict_batches", "limit_test_batches", "limit_val_batches", "log_every_n_steps"),
    *("max_epochs", "max_time", "min_epochs", "num_sanity_val_steps"),
}
# Precisions with 32-bit weights and without loss scaling.
SAFE_PRECISIONS = (None, 32, "32", "32-true", "bf16", "bf16-mixed")
STEP_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_backward", "on_after_backward"),
    *("on_before_zero_grad", "on_before_optimizer_step"),
)


class MultiStepClassifier(Classifier):
    """A classifier whose `training_step` takes several concatenated batches and runs an optimizer step for each.

    Args:
        *arguments: the arguments of `Classifier`.
        batch_size: images per batch; the last one of an epoch may be smaller.
        **keywords: the keyword arguments of `Classifier`.
    """

    def __init__(self, *arguments: Any, batch_size: int, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.automatic_optimization = False
        self.batch_size = batch_size
        self.monitor = ""

    def training_step(self, concatenated: Batch, batch_idx: int) -> Tensor:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        scheduler = self._scheduler("step")
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        losses, all_logits = [], []
        batches = zip(*(torch.split(tensor, self.batch_size) for tensor in concatenated), strict=True)
        for step, batch in enumerate(batches, start=self.global_step + 1):
            loss, logits = self.compute_training_loss(batch, step)
            for parameter in parameters:  # takes a tenth of the time of `optimizer.zero_grad()`
                parameter.grad = None
            # Lightning calls `training_step` with the autocast of the precision, which the backward pass must not use.
            with torch.autocast(self.device.type, enabled=False):
                loss.backward()  # type: ignore[no-untyped-call]
                _step_optimizer(optimizer)
            if scheduler is not None:
                scheduler.step()
            losses.append(loss.detach())
            all_logits.append(logits.detach())
        # Once per call, since thousands of small tensors that are kept for an epoch would fragment the heap.
        self.train_metrics.update(torch.stack(losses), torch.cat(all_logits), concatenated[1], self.batch_size)
        return torch.stack(losses).mean()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        configured = super().configure_optimizers()
        if isinstance(configured, dict):
            # Lightning does not step schedules in manual optimization, and warns of a `monitor` that it does not use.
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


def _step_optimizer(optimizer: LightningOptimizer) -> None:
    """Run an optimizer step as `optimizer.step()` does, without its calls of strategy, precision and hooks.

    They do nothing with one device and `SAFE_PRECISIONS`, but take time in each step. The private methods count the
    step.
    """
    optimizer._on_before_step()
    optimizer.optimizer.step()
    optimizer._on_after_step()


def supports_multi_step(trainer: Mapping[str, Any], callbacks: Iterable[Callback]) -> bool:
    """Return True if `training_step` may run several optimizer steps, since nothing needs hooks of each step.

    Args:
        trainer: the arguments of the Trainer.
        callbacks: the callbacks of the run.
    """
    has_end = trainer["max_epochs"] not in (None, -1)
    one_device = trainer["devices"] in (1, "1", "auto") and trainer["strategy"] == "auto"
    others = {name: value for name, value in trainer.items() if name not in SAFE_TRAINER_ARGS}
    is_safe_precision = others.pop("precision") in SAFE_PRECISIONS
    defaults = signature(Trainer).parameters
    are_defaults = all(name in defaults and value == defaults[name].default for name, value in others.items())
    return has_end and one_device and is_safe_precision and are_defaults and not any(map(needs_step_hooks, callbacks))


def needs_step_hooks(callback: Callback) -> bool:
    """Return True if a callback must run before or after each optimizer step.

    A callback that overrides one of `STEP_HOOKS` must, unless its attribute `needs_step_hooks` is False or it is a
    progress bar.
    `ModelCheckpoint` has no public attributes for its intervals.
    """
    if isinstance(callback, ModelCheckpoint):
        return callback._every_n_train_steps > 0 or callback._train_time_interval is not None
    if isinstance(callback, GradientAccumulationScheduler):
        return True
    # Of the instance, since `LambdaCallback` sets its hooks there.
    hooks = {name: getattr(getattr(callback, name), "__func__", None) for name in STEP_HOOKS}
    overrides = any(hook is not getattr(Callback, name) for name, hook in hooks.items())
    return overrides and getattr(callback, "needs_step_hooks", not isinstance(callback, ProgressBar))
