"""Several optimizer steps in one call of `training_step`, to reduce the overhead of Lightning.

Lightning runs some thirty hooks around each `training_step`, which for a small network cost as much as its arithmetic.
As with `steps_per_execution` in Keras, the DataLoader here returns several batches at once, and `training_step` splits
them and runs an optimizer step for each. The batches, their order and the arithmetic do not change: the weights are
bit-identical to those of single steps, which a test checks.

A GPU runs the kernels of a small network in less time than Python takes to launch them. With `cuda_graph=true`, the
kernels of all steps of a call are captured once as a CUDA graph, and replayed by a single launch. The weights are again
bit-identical, as tested with torch 2.11.
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
from fashion_mlp.runtime.cuda_graph import CapturedSteps, StepOutput, join_outputs, split_batches
from fashion_mlp.runtime.errors import UserError

# Arguments of the Trainer that work with any number of steps per call of `training_step`.
SAFE_TRAINER_ARGS = {
    *("_target_", "accelerator", "benchmark", "check_val_every_n_epoch", "default_root_dir", "deterministic"),
    *("devices", "enable_autolog_hparams", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"),
    *("inference_mode", "limit_predict_batches", "limit_test_batches", "limit_val_batches", "log_every_n_steps"),
    *("max_epochs", "min_epochs", "num_sanity_val_steps"),
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
        cuda_graph: if True, run the steps of a call as a CUDA graph.
        **keywords: the keyword arguments of `Classifier`.
    """

    def __init__(self, *arguments: Any, batch_size: int, cuda_graph: bool = False, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.automatic_optimization = False
        self.batch_size = batch_size
        self.cuda_graph = cuda_graph
        self.monitor = ""
        # By the numbers of images and of augmented steps of a call.
        self._warmed_up: set[tuple[int, int]] = set()
        self._captured: dict[tuple[int, int], CapturedSteps] = {}

    def training_step(self, concatenated: Batch, batch_idx: int) -> Tensor:
        first_step = self.global_step + 1
        batches = split_batches(concatenated, self.batch_size)
        captured = self._captured_steps(concatenated, len(batches), first_step) if self.cuda_graph else None
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        scheduler = self._scheduler("step")
        rates, outputs = [], []
        for step, batch in enumerate(batches, start=first_step):  # with captured steps, only for the learning rates
            rates.append([float(group["lr"]) for group in optimizer.param_groups])
            if captured is None:
                outputs.append(self._run_step(batch, step))
            # Count the step as `LightningOptimizer.step` does. Its other calls do nothing with one device and
            # `SAFE_PRECISIONS`, but take time, and a graph cannot contain them.
            optimizer._on_before_step()
            optimizer._on_after_step()
            if scheduler is not None:
                scheduler.step()
        losses, logits = captured.replay(concatenated, rates) if captured else join_outputs(outputs)
        for step, (loss, (rate, *_)) in enumerate(zip(losses, rates, strict=True), start=first_step):
            self.log_step(loss, rate, step)
        # Once per call, since thousands of small tensors that are kept for an epoch would fragment the heap.
        self.train_metrics.update(losses, logits, concatenated[1], self.batch_size)
        return losses.mean()

    def _run_step(self, batch: Batch, step: int) -> StepOutput:
        """Run an optimizer step; return the loss and the logits."""
        loss, logits = self.compute_training_loss(batch, step)
        (optimizer,) = self.trainer.optimizers
        for group in optimizer.param_groups:
            for parameter in group["params"]:  # takes a tenth of the time of `optimizer.zero_grad()`
                parameter.grad = None
        # Lightning calls `training_step` with the autocast of the precision, which the backward pass must not use.
        with torch.autocast(self.device.type, enabled=False):
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return loss.detach(), logits.detach()

    def _captured_steps(self, concatenated: Batch, num_steps: int, first_step: int) -> CapturedSteps | None:
        """Return captured steps for batches; None in the first call with such batches, the warm-up."""
        augmented = min(max(self.augmented_steps - first_step + 1, 0), num_steps)
        key = len(concatenated[1]), int(augmented)
        if key not in self._warmed_up:
            self._warmed_up.add(key)
            return None
        if key not in self._captured:
            (optimizer,) = self.trainer.optimizers
            self._captured[key] = CapturedSteps(self._run_step, optimizer, concatenated, self.batch_size, first_step)
        return self._captured[key]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        configured = super().configure_optimizers()
        if isinstance(configured, dict):
            schedule: Any = configured["lr_scheduler"]  # type: ignore[typeddict-item]
            if schedule.get("frequency", 1) != 1:
                raise UserError("scheduler: a frequency other than 1 needs single steps. Type steps_per_execution=1")
            # Lightning does not step schedules in manual optimization, and warns of a `monitor` that it does not use.
            self.monitor = schedule.pop("monitor", "")
        return configured

    def on_train_end(self) -> None:
        self._captured.clear()  # frees the memory of the graphs

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


def supports_multi_step(trainer: Mapping[str, Any], callbacks: Iterable[Callback], world_size: int) -> bool:
    """Return True if `training_step` may run several optimizer steps, since nothing needs hooks of each step.

    Args:
        trainer: the arguments of the Trainer.
        callbacks: the callbacks of the run.
        world_size: the number of processes, of which several would have to reduce gradients.
    """
    has_end = trainer["max_epochs"] not in (None, -1)
    one_device = world_size == 1 and trainer["strategy"] == "auto"
    others = {name: value for name, value in trainer.items() if name not in SAFE_TRAINER_ARGS}
    is_safe_precision = others.pop("precision") in SAFE_PRECISIONS
    defaults = signature(Trainer).parameters
    are_defaults = all(name in defaults and value == defaults[name].default for name, value in others.items())
    return has_end and one_device and is_safe_precision and are_defaults and not any(map(needs_step_hooks, callbacks))


def needs_step_hooks(callback: Callback) -> bool:
    """Return True if a callback must run before or after each optimizer step.

    A callback that overrides one of `STEP_HOOKS` must, unless its attribute `needs_step_hooks` is False or it is a
    progress bar.
    """
    if isinstance(callback, ModelCheckpoint):  # has no public attributes for its intervals
        return callback._every_n_train_steps > 0 or callback._train_time_interval is not None
    if isinstance(callback, GradientAccumulationScheduler):
        return True
    # Of the instance, since `LambdaCallback` sets its hooks there.
    hooks = {name: getattr(getattr(callback, name), "__func__", None) for name in STEP_HOOKS}
    overrides = any(hook is not getattr(Callback, name) for name, hook in hooks.items())
    return overrides and getattr(callback, "needs_step_hooks", not isinstance(callback, ProgressBar))
