"""An exponential moving average of the weights."""

from functools import partial
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightEMA(Callback):
    """Maintain an exponential moving average of the weights; use it in validation, test and checkpoints.

    After each optimizer step `average = d * average + (1 - d) * weights`, with the statistics of batch norm: a variant
    of Polyak averaging (Polyak and Juditsky, 1992). In step n, `d = min(decay, (1 + n) / (10 + n))`, as with
    `num_updates` in TensorFlow's `ExponentialMovingAverage`: the first weights decay fast, and a run of less than about
    `9 / (1 - decay)` steps averages over its last tenth.

    Training does not change: `train/*` metrics are those of the current weights. The `state_dict` of a checkpoint
    contains the average; the state of this callback contains the current weights. The average is updated
    by a hook of the optimizer, since Lightning's `WeightAveraging` uses `on_train_batch_end`, which is called once for
    up to 64 optimizer steps here. Each process must hold all weights.

    Args:
        decay: between 0 and 1, exclusive. The average extends over about `1 / (1 - decay)` steps.
    """

    state_key = "ema"

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._resumed: dict[str, Tensor] = {}
        # The tensors of the network; the shadow is their average, or the current weights while the two are swapped.
        self._network: dict[str, Tensor] = {}
        self._shadow: dict[str, Tensor] = {}
        self._is_swapped = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # `num_batches_tracked` of batch norm is an integer, so it is not averaged.
        self._network = {name: value for name, value in pl_module.state_dict().items() if value.is_floating_point()}
        self._shadow = {name: value.clone() for name, value in self._network.items()}
        self._is_swapped = False
        for name, value in self._resumed.items():
            self._network[name].copy_(value)
        (optimizer,) = trainer.optimizers
        optimizer.register_step_post_hook(self._update)
        # A partial, since torch sets an attribute of the hook, which a bound method does not allow.
        pl_module.register_state_dict_post_hook(partial(self._put_average))  # type: ignore[no-untyped-call]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(average=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(average=True)

    on_validation_end = on_train_epoch_start
    on_train_epoch_end = on_validation_start

    def state_dict(self) -> dict[str, Any]:
        trained = self._shadow if self._is_swapped else self._network
        return {"num_updates": self.num_updates, "trained_weights": dict(trained)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_updates = state_dict["num_updates"]
        self._resumed = state_dict["trained_weights"]

    def _update(self, optimizer: Optimizer, *_: Any) -> None:
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(tuple(self._shadow.values()), tuple(self._network.values()), self.num_updates)

    def _put_average(self, module: Module, state_dict: dict[str, Any], prefix: str, local_metadata: object) -> None:
        # Lightning does not call `on_save_checkpoint` for a checkpoint with weights only.
        if not self._is_swapped:
            state_dict.update({prefix + name: value for name, value in self._shadow.items()})

    def _swap(self, *, average: bool) -> None:
        """Copy the average, or the current weights, into the network: in place, as a compiled network requires."""
        if self._is_swapped == average:
            return
        self._is_swapped = average
        for name, value in self._network.items():
            other = self._shadow[name].clone()
            self._shadow[name].copy_(value)
            value.copy_(other)
