"""Optimizer steps as a CUDA graph."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.failures import is_oom_error

# Loss, a scalar, and logits of a batch; or the losses, float `[steps]`, and the logits of several batches.
StepOutput = tuple[Tensor, Tensor]


def split_batches(concatenated: tuple[Tensor, Tensor], batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Split the images and labels of concatenated batches; the last batch may be smaller."""
    images, labels = (torch.split(tensor, batch_size) for tensor in concatenated)
    return list(zip(images, labels, strict=True))


def join_outputs(outputs: Iterable[StepOutput]) -> StepOutput:
    """Stack the losses of several steps, and concatenate their logits."""
    losses, logits = zip(*outputs, strict=True)
    return torch.stack(losses), torch.cat(logits)


class CapturedSteps:
    """The optimizer steps of several batches, captured as a CUDA graph, to replay with other batches.

    Run such steps once without a graph before (warm-up): libraries and the optimizer allocate memory in their first
    steps. A replay draws new random numbers of torch. It does not run Python code: the decisions of a layer that calls
    `random.random` are those of the capture.

    Args:
        run_step: runs the optimizer step of a batch and a step number.
        optimizer: the optimizer of `run_step`, with `fused=True`.
        concatenated: images and labels of the batches, concatenated, on a CUDA device.
        batch_size: images per batch; the last one may be smaller.
        first_step: number of the first step.

    Raises:
        UserError: a step synchronizes with the device, as `Tensor.item` does.
    """

    def __init__(
        self,
        run_step: Callable[[tuple[Tensor, Tensor], int], StepOutput],
        optimizer: Optimizer,
        concatenated: tuple[Tensor, Tensor],
        batch_size: int,
        first_step: int,
    ) -> None:
        self.optimizer = optimizer
        self.images, self.labels = (tensor.clone() for tensor in concatenated)
        batches = split_batches((self.images, self.labels), batch_size)
        self.rates = torch.empty(len(batches), len(optimizer.param_groups), device=self.labels.device)
        self.constants = self._constants()
        self.graph = torch.cuda.CUDAGraph()
        groups = [dict(group) for group in optimizer.param_groups]
        outputs = []
        try:
            with torch.cuda.graph(self.graph):
                for step, (batch, rates) in enumerate(zip(batches, self.rates, strict=True), start=first_step):
                    for group, rate in zip(optimizer.param_groups, rates, strict=True):
                        group.update(lr=rate, capturable=True)  # without it, Adam refuses the capture
                    outputs.append(run_step(batch, step))
                self.losses, self.logits = join_outputs(outputs)
        except RuntimeError as error:
            if is_oom_error(error):
                raise
            reason = str(error).splitlines()[0]
            raise UserError(f"cuda_graph=true: a step cannot be captured ({reason}). Type cuda_graph=false") from error
        finally:
            for group, values in zip(optimizer.param_groups, groups, strict=True):
                group.clear()  # in place, since a schedule refers to the groups
                group.update(values)

    def replay(self, concatenated: tuple[Tensor, Tensor], rates: Sequence[Sequence[float]]) -> StepOutput:
        """Run the steps; return their losses and the logits of all batches.

        Args:
            concatenated: batches of the same shapes as the captured ones.
            rates: the learning rate of each step and parameter group.

        Raises:
            UserError: a hyperparameter other than the learning rate has changed, which is a constant of the graph.
        """
        if self._constants() != self.constants:
            raise UserError("cuda_graph=true: a hyperparameter other than lr has changed. Type cuda_graph=false")
        self.images.copy_(concatenated[0])
        self.labels.copy_(concatenated[1])
        self.rates.copy_(torch.tensor(rates))
        self.graph.replay()
        return self.losses.clone(), self.logits.clone()

    def _constants(self) -> list[dict[str, Any]]:
        groups = self.optimizer.param_groups
        return [{name: value for name, value in group.items() if name not in ("params", "lr")} for group in groups]
