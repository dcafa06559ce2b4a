"""Run the network, the optimizer, the schedule and the loggers once before training, to report an error by its key."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from fashion_mlp.checkpoint.load import check_loadable
from fashion_mlp.classifier import Classifier
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.failures import is_oom_error
from fashion_mlp.runtime.ranks import is_rank_zero

log = logging.getLogger(__name__)


def dry_run(classifier: Classifier, image_shape: Iterable[int], loggers: Iterable[Logger]) -> None:
    """Run the network on two images and the optimizer on one weight, and connect to remote loggers.

    Args:
        classifier: a classifier on the CPU, in training mode; its weights and buffers do not change.
        image_shape: channels, height and width.
        loggers: the loggers of the run; those that write local files are skipped, since they would create them.

    Raises:
        UserError: one of them fails.
    """
    with _explain_errors("model"), torch.no_grad():
        classifier.model.eval()  # changes neither buffers nor the random state
        logits = classifier.model(torch.zeros(2, *image_shape, dtype=torch.uint8))
        classifier.model.train()
        found, expected = list(getattr(logits, "shape", [])), [2, len(classifier.class_names)]
        if found != expected:
            raise UserError(f"model: returns {type(logits).__name__} {found} for two images. Expected {expected}")
    if is_rank_zero():
        _warn_if_not_loadable(classifier)
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    assert classifier.optimizer_factory is not None
    with _explain_errors("optimizer"):
        optimizer = classifier.optimizer_factory([weight])
        if not isinstance(optimizer, Optimizer):
            raise UserError(f"optimizer: not an optimizer but {type(optimizer).__name__}. Expected one of torch.optim")
        optimizer.step()
    if classifier.scheduler_factory is not None:
        with _explain_errors("scheduler"):
            scheduler = classifier.scheduler_factory(optimizer, 100)
            if not isinstance(scheduler, dict) or not isinstance(scheduler.get("scheduler"), LRScheduler):
                raise UserError("scheduler: not a schedule. Expected a function such as fashion_mlp.schedulers.step")
            if not isinstance(scheduler["scheduler"], ReduceLROnPlateau):
                optimizer.step()  # PyTorch warns of a schedule that is stepped first
                scheduler["scheduler"].step()
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger | CSVLogger):
            with _explain_errors(f"logger ({type(logger).__name__})"):
                _ = getattr(logger, "experiment", None)


def _warn_if_not_loadable(classifier: Classifier) -> None:
    """Warn if the checkpoints of a classifier will be refused, since its network is not from a trusted package."""
    try:
        with torch.random.fork_rng(devices=[]):
            check_loadable(classifier.metadata["model"], classifier.state_dict().values())
    except Exception as error:  # constructors raise errors of many types
        log.warning(f"model._target_: checkpoints cannot be loaded ({error}). Define it in src/fashion_mlp/models")


@contextmanager
def _explain_errors(key: str) -> Iterator[None]:
    """Raise a `UserError` that names the key of a section instead of another error, except a lack of memory."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or is_oom_error(error):
            raise
        reason = str(error).rstrip(".")
        raise UserError(f"{key}: {type(error).__name__}: {reason}. HYDRA_FULL_ERROR=1 prints the traceback") from error
