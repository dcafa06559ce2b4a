"""Several optimizer steps in one call of `training_step`, to reduce the overhead of Lightning.

Lightning runs some thirty hooks around each `training_step`, which for a small network cost as much as its arithmetic.
As with `steps_per_execution` in Keras, the DataLoader here returns several batches at once, and `training_step` splits
them and runs an optimizer step for each. The batches, their order and the arithmetic do not change: the weights are
bit-identical to those of single steps, which a test checks.

A GPU runs the kernels of a small network in less time than Python takes to launch them. With `cuda_graph=true`, a CUDA
graph launches those of all steps of a call at once: the same kernels, and bit-identical weights.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint, ProgressBar
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import LRSchedulerPLType, OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fashion_mlp.classifier import Classifier
from fashion_mlp.data.module import Batch
from fashion_mlp.runtime.errors import UserError

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

# The loss and the logits of a batch; or the losses, float `[steps]`, and the logits of several batches.
StepOutput = tuple[Tensor, Tensor]


class CapturedSteps:
    """The optimizer steps of several batches, captured as a CUDA graph, to replay with other batches.

    Run such steps without a graph before, since libraries and the optimizer allocate memory in their first steps. A
    replay draws new random numbers of torch, but does not run Python code, such as a layer that calls `random.random`.

    Args:
        run_step: runs the optimizer step of a batch and a step number.
        optimizer: the optimizer of `run_step`, with `fused=True`.
        concatenated: the batches, on a CUDA device.
        batch_size: images per batch; the last one may be smaller.
        first: number of the first step.

    Raises:
        UserError: a step waits for the device, as `Tensor.item` does.
    """

    def __init__(
        self,
        run_step: Callable[..., StepOutput],
        optimizer: Optimizer,
        concatenated: Batch,
        batch_size: int,
        first: int,
    ) -> None:
        self.optimizer = optimizer
        self.concatenated = concatenated[0].clone(), concatenated[1].clone()
        batches = split_batches(self.concatenated, batch_size)
        self.rates = torch.empty(len(batches), len(optimizer.param_groups), device=concatenated[0].device)
        self.constants = self._constants()
        self.graph = torch.cuda.CUDAGraph()
        groups = [dict(group) for group in optimizer.param_groups]
        outputs = []
        try:
            with torch.cuda.graph(self.graph):
                for step, (batch, rates) in enumerate(zip(batches, self.rates, strict=True), start=first):
                    for group, rate in zip(optimizer.param_groups, rates, strict=True):
                        group.update(lr=rate, capturable=True)
                    outputs.append(run_step(batch, step))
                self.output = join_outputs(outputs)
        except torch.AcceleratorError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cuda_graph=true: a step cannot be captured ({reason}). Type cuda_graph=false") from error
        finally:
            for group, values in zip(optimizer.param_groups, groups, strict=True):
                group.clear()
                group.update(values)

    def replay(self, concatenated: Batch, rates: Sequence[Sequence[float]]) -> StepOutput:
        """Run the steps; return their losses and the logits of all batches.

        Args:
            concatenated: batches of the same shapes as the captured ones.
            rates: the learning rate of each step and parameter group.

        Raises:
            UserError: a hyperparameter other than the learning rate has changed; in a graph, it is a constant.
        """
        if self._constants() != self.constants:
            raise UserError("cuda_graph=true: the schedule changes more than learning rates. Type cuda_graph=false")
        for captured, tensor in zip(self.concatenated, concatenated, strict=True):
            captured.copy_(tensor)
        self.rates.copy_(torch.tensor(rates))
        self.graph.replay()
        return self.output[0].clone(), self.output[1].clone()

    def _constants(self) -> list[dict[str, Any]]:
        groups = self.optimizer.param_groups
        return [{name: value for name, value in group.items() if name not in ("params", "lr")} for group in groups]


def split_batches(concatenated: Batch, batch_size: int) -> list[Batch]:
    """Split concatenated batches; the last one may be smaller."""
    images, labels = (torch.split(tensor, batch_size) for tensor in concatenated)
    return list(zip(images, labels, strict=True))


def join_outputs(outputs: Iterable[StepOutput]) -> StepOutput:
    """Stack the losses of several steps, and concatenate their logits."""
    losses, logits = zip(*outputs, strict=True)
    return torch.stack(losses), torch.cat(logits)


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
        # By the numbers of images and of augmented steps of a call; None after the first such call.
        self._captured: dict[tuple[int, int], CapturedSteps | None] = {}

    def training_step(self, concatenated: Batch, batch_idx: int) -> Tensor:
        first = self.global_step + 1
        batches = split_batches(concatenated, self.batch_size)
        captured = self._captured_steps(concatenated, len(batches), first) if self.cuda_graph else None
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        scheduler = self._scheduler("step")
        rates, outputs = [], []
        for step, batch in enumerate(batches, start=first):
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
        for step, (loss, (rate, *_)) in enumerate(zip(losses, rates, strict=True), start=first):
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

    def _captured_steps(self, concatenated: Batch, num_steps: int, first: int) -> CapturedSteps | None:
        """Return captured steps for batches; None in the first call with such batches, which runs without a graph."""
        augmented = int(min(max(self.augmented_steps - first + 1, 0), num_steps))
        key = len(concatenated[1]), augmented
        if key in self._captured and self._captured[key] is None:
            (optimizer,) = self.trainer.optimizers
            self._captured[key] = CapturedSteps(self._run_step, optimizer, concatenated, self.batch_size, first)
        return self._captured.setdefault(key, None)

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
