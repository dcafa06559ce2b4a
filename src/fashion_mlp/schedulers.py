"""Learning-rate schedules: functions of an optimizer and the number of steps of the run.

A schedule that ignores the number of steps has the attribute `depends_on_length = False`, so that a resumed run may
have more epochs.
"""

from collections.abc import Callable

from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR

from fashion_mlp.config.monitoring import metric_direction

# Returns a schedule for an optimizer and a number of steps, in the form that Lightning expects.
SchedulerFactory = Callable[[Optimizer, int], LRSchedulerConfigType]


def cosine(optimizer: Optimizer, total_steps: int, *, min_lr: float = 0.0) -> LRSchedulerConfigType:
    """Return a half cosine from the optimizer's rate to `min_lr` (SGDR without restarts, arXiv 1608.03983)."""
    return {"scheduler": CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=min_lr), "interval": "step"}


def onecycle(
    optimizer: Optimizer,
    total_steps: int,
    *,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> LRSchedulerConfigType:
    """Return a one-cycle schedule (Smith and Topin, arXiv 1708.07120), stepped after each optimizer step.

    Args:
        optimizer: its rate is the peak.
        total_steps: length of the cycle in steps.
        pct_start: fraction of the cycle with a rising rate, 0 to less than 1.
        div_factor: peak rate over initial rate.
        final_div_factor: initial rate over final rate.
    """
    pct_start = float(pct_start)  # PyTorch refuses the integer 0
    if pct_start * total_steps == 1:  # PyTorch would divide by the length of the rise, 0
        pct_start *= 1 - 1e-9
    scheduler = OneCycleLR(
        optimizer,
        max_lr=optimizer.param_groups[0]["lr"],
        total_steps=total_steps,
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        cycle_momentum=False,  # SGD without momentum has no momentum to cycle
    )
    return {"scheduler": scheduler, "interval": "step"}


def plateau(
    optimizer: Optimizer,
    total_steps: int,
    *,
    monitor: str = "val/loss",
    factor: float = 0.1,
    patience: int = 3,
    min_lr: float = 0.0,
) -> LRSchedulerConfigType:
    """Return a schedule that multiplies the rate by `factor` after more than `patience` epochs without a gain."""
    mode = metric_direction(monitor) or "min"
    scheduler = ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience, min_lr=min_lr)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}


def step(optimizer: Optimizer, total_steps: int, *, step_size: int = 2, gamma: float = 0.5) -> LRSchedulerConfigType:
    """Return a schedule that multiplies the rate by `gamma` every `step_size` epochs."""
    return {"scheduler": StepLR(optimizer, step_size=step_size, gamma=gamma), "interval": "epoch"}


plateau.depends_on_length = step.depends_on_length = False  # type: ignore[attr-defined]
