"""The learning-rate range test (Smith, arXiv 1506.01186), which shows at which rates a configuration learns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor

from fashion_mlp.build.dry_run import dry_run
from fashion_mlp.build.parts import build_classifier, build_datamodule, instantiate_section
from fashion_mlp.checkpoint.initial import load_initial_checkpoint
from fashion_mlp.data.batch_counts import check_batch_counts
from fashion_mlp.training import prepare_process

# The rate of the first and of the last optimizer step.
MIN_RATE, MAX_RATE = 1e-6, 10.0
NUM_STEPS = 200
# The test ends at a loss that is this many times the initial one.
DIVERGENCE = 4.0
# Standard deviation of the smoothing, in steps: a fifth of a power of ten.
SMOOTHING = 6.0
# Part of the initial loss by which the smoothed loss must fall; the noise of a small batch is less.
MIN_FALL = 0.1
# The suggested rate has this part of the largest fall.
FALL = 0.95
# Arguments of the Trainer that influence an optimizer step; the test uses one device, and writes no files.
TRAINER_ARGS = (
    *("accelerator", "accumulate_grad_batches", "deterministic", "gradient_clip_algorithm", "gradient_clip_val"),
    *("limit_train_batches", "precision"),
)


class RateSweep(Callback):
    """Raise the learning rate exponentially with each optimizer step, and stop when the loss diverges.

    Attributes:
        losses: training loss by learning rate, in ascending order of the rates.
    """

    def __init__(self) -> None:
        self.losses: dict[float, float] = {}
        self.rate = MIN_RATE

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.rate = MIN_RATE * (MAX_RATE / MIN_RATE) ** (trainer.global_step / (NUM_STEPS - 1))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        loss = float(outputs["loss"])
        initial = list(self.losses.values())[:10] or [loss]
        if loss <= DIVERGENCE * sum(initial) / len(initial):
            self.losses[self.rate] = loss
        else:  # also if it is NaN
            trainer.should_stop = True


def measure_losses(cfg: DictConfig) -> dict[float, float]:
    """Train the classifier of a configuration for `NUM_STEPS` steps with rising learning rates; write no files.

    Args:
        cfg: the configuration of a run. Its weights and batches are those of the first steps of the run.

    Returns:
        Training loss by learning rate, in ascending order of the rates.
    """
    prepare_process(cfg.seed)
    datamodule, sweep = build_datamodule(cfg), RateSweep()
    datamodule.augment = replace(datamodule.augment, off_fraction=0.0)  # a fraction of a whole run
    config = {"_target_": "lightning.Trainer", **{name: cfg.trainer[name] for name in TRAINER_ARGS}}
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    silent = dict.fromkeys(names, False) | {"devices": 1, "max_steps": NUM_STEPS, "limit_val_batches": 0}
    trainer: Trainer = instantiate_section("trainer", config, Trainer, callbacks=[sweep], **silent)
    datamodule.prepare_data()
    datamodule.setup("fit")
    check_batch_counts(cfg, datamodule, processes=1)
    classifier = build_classifier(cfg, datamodule)
    classifier.scheduler_factory = None
    dry_run(classifier, datamodule.image_shape, loggers=())
    initial = load_initial_checkpoint(cfg.ckpt_path, "weights" if cfg.ckpt_restore == "all" else cfg.ckpt_restore)
    initial.restore_weights(classifier, trainer)
    trainer.fit(classifier, datamodule)
    return sweep.losses


def smooth(losses: Sequence[float]) -> Tensor:
    """Return losses smoothed by a Gaussian window, `[len(losses)]`, which does not lag as an exponential mean does."""
    steps = torch.arange(len(losses))
    weights = torch.exp(-0.5 * ((steps[:, None] - steps) / SMOOTHING) ** 2)
    return weights @ torch.tensor(losses) / weights.sum(1)


def suggest_rate(losses: Mapping[float, float]) -> float | None:
    """Return the smallest rate with `FALL` of the largest fall of the smoothed loss; None if the loss does not fall.

    The steepest descent, another common choice, has a quarter of that rate or less here, since small networks learn
    most in the first steps. The minimum is somewhere in a flat valley, which depends on the seed.
    """
    smoothed = smooth(list(losses.values()))
    if not losses or smoothed.min() > (1 - MIN_FALL) * smoothed[0]:
        return None
    has_fallen = smoothed <= smoothed[0] + FALL * (smoothed.min() - smoothed[0])
    return list(losses)[int(has_fallen.int().argmax())]
