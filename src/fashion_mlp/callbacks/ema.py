"""The weights averaged over the steps."""

from functools import partial
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMAWeightAveraging(Callback):
    """Keeps a moving average of the weights; validation, checkpoints, test and all that comes after have it.

    After each optimizer step `average = d * average + (1 - d) * weights`, batch norm's statistics included: a variant
    of Polyak averaging (Polyak and Juditsky, 1992). In the n-th step `d = min(decay, (1 + n) / (10 + n))`, as with
    `num_updates` in TensorFlow's `EMAWeightAveraging`: so the first weights are soon forgotten, and a run of less
    than about `9 / (1 - decay)` steps averages over its last tenth, whatever the decay.

    Training itself is untouched: what it logs (`train/*`) is of the weights as they are. A checkpoint's `state_dict`
    holds the average, its callback's state what training goes on from. It works on each step of the optimizer and not
    by Lightning's hooks, as `lightning.pytorch.callbacks.WeightAveraging` does, since these see only each call of
    `training_step`, which takes several steps. For strategies that keep all weights in each process.

    Args:
        decay: between 0 and 1; an average over about `1 / (1 - decay)` steps.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._resumed: dict[str, Tensor] = {}
        # The network's own tensors, and as many beside: the average, or, while the network shows it, what is trained.
        self._network: dict[str, Tensor] = {}
        self._beside: dict[str, Tensor] = {}
        self._is_shown = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Of batch norm's count of batches, which is an integer, there is no average.
        self._network = {name: value for name, value in pl_module.state_dict().items() if value.is_floating_point()}
        self._beside = {name: value.clone() for name, value in self._network.items()}
        self._is_shown = False
        for name, value in self._resumed.items():
            self._network[name].copy_(value)
        (optimizer,) = trainer.optimizers
        optimizer.register_step_post_hook(self._update)
        # A partial, since torch marks the hook by an attribute, which a bound method cannot have.
        pl_module.register_state_dict_post_hook(partial(self._put_average))  # type: ignore[no-untyped-call]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(average=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(average=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(average=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(average=True)

    def state_dict(self) -> dict[str, Any]:
        trained = self._beside if self._is_shown else self._network
        return {"num_updates": self.num_updates, "trained_weights": dict(trained)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_updates = state_dict["num_updates"]
        self._resumed = state_dict["trained_weights"]

    def _update(self, optimizer: Optimizer, *_: Any) -> None:
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(tuple(self._beside.values()), tuple(self._network.values()), self.num_updates)

    def _put_average(self, module: Module, state_dict: dict[str, Any], prefix: str, local_metadata: object) -> None:
        # Not by Lightning's on_save_checkpoint, which a checkpoint of weights only does not come by.
        if not self._is_shown:
            state_dict.update({prefix + name: value for name, value in self._beside.items()})

    def _show(self, *, average: bool) -> None:
        """Put the average into the network, or the weights that are trained: in place, which a compiled one needs."""
        if self._is_shown == average:
            return
        self._is_shown = average
        for name, value in self._network.items():
            other = self._beside[name].clone()
            self._beside[name].copy_(value)
            value.copy_(other)


def ema(decay: float | None) -> EMAWeightAveraging | None:
    """Return the callback, or None where it is switched off."""
    return EMAWeightAveraging(decay) if decay is not None else None
