"""The checkpoint that a run begins with: its own, if it is resumed, or that of another."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from fashion_mlp.checkpoint.load import read_checkpoint
from fashion_mlp.checkpoint.training_state import TrainingStateCheckpoint
from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.config.messages import format_value
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import CHECKPOINTS, LAST, PREVIOUS, relative_to_cwd

log = logging.getLogger(__name__)

# Entries of a checkpoint that Lightning restores, besides the weights.
TRAINING_STATE = ("callbacks", "global_step", "loops", "lr_schedulers", "optimizer_states")


@dataclass(frozen=True)
class InitialCheckpoint:
    """A checkpoint, and what a run takes over from it.

    Args:
        path: the file.
        checkpoint: its content.
        full_state: whether optimizer, schedule and epoch are taken over, or only the weights.
        is_resumed: whether it is a state of the run itself.
    """

    path: Path
    checkpoint: Mapping[str, Any]
    full_state: bool = True
    is_resumed: bool = False

    @property
    def epochs(self) -> int:
        """Epochs of training behind it."""
        return int(self.checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]["processed"])

    @property
    def step(self) -> int:
        """Optimizer steps behind it."""
        return int(self.checkpoint["global_step"])

    @property
    def charts(self) -> Mapping[str, int]:
        """The sizes of TensorBoard's files when it was written."""
        sizes: Mapping[str, int] = self.checkpoint["callbacks"][TrainingStateCheckpoint.__qualname__]["charts"]
        return sizes

    @property
    def description(self) -> str:
        """What is taken over, in one line."""
        if not self.full_state:
            return f"{relative_to_cwd(self.path)}, its weights only"
        return f"{relative_to_cwd(self.path)}, with optimizer and schedule, after step {self.step}"

    def begin(self, classifier: Classifier, max_epochs: int | None) -> None:
        """Take over the weights, if nothing else is; Lightning takes over the whole.

        Raises:
            UserError: the checkpoint does not fit the run, or leaves nothing to train.
        """
        self._check_weights(classifier.model)
        if not self.full_state:
            classifier.load_state_dict(self.checkpoint["state_dict"])
            return
        for part in ("optimizer", "scheduler", "callbacks.ema"):
            self._check_same(part, classifier.metadata[part])
        if max_epochs is not None and 0 <= max_epochs <= self.epochs:
            raise UserError(
                f"ckpt_path={self.path}: has trained {self.epochs} epochs already; set trainer.max_epochs above that, "
                "or begin with its weights only: ckpt_weights_only=true"
            )

    def _check_weights(self, model: nn.Module) -> None:
        there = {name.removeprefix("model."): tuple(w.shape) for name, w in self.checkpoint["state_dict"].items()}
        here = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        for name in {**there, **here}:
            if there.get(name) != here.get(name):
                raise UserError(
                    f"ckpt_path={self.path}: holds another network ({name} is {there.get(name, 'not there')}, "
                    f"here {here.get(name, 'not there')}); set model.* as it was trained"
                )

    def _check_same(self, part: str, config: Mapping[str, Any] | None) -> None:
        """Check that the state of a part, which Lightning loads whatever it is, is loaded into its like."""
        if part not in self.checkpoint[METADATA_KEY]:  # of an earlier version
            return
        before, now = self.checkpoint[METADATA_KEY][part] or {}, config or {}
        for key in {**before, **now}:
            if before.get(key) != now.get(key):
                name, value = part if key == "_target_" else f"{part}.{key}", format_value(before.get(key))
                raise UserError(
                    f"{name}={format_value(now.get(key))}: ckpt_path={self.path} was trained with {value} "
                    "and goes on with it; to change it, begin with its weights only: ckpt_weights_only=true"
                )


def find_initial_checkpoint(cfg: DictConfig, run_dir: Path, *, resumed: bool) -> InitialCheckpoint | None:
    """Return what a run starts from: its own last state if it is resumed, else `ckpt_path`, else None.

    A run that was interrupted before it saved a state starts as it did the first time.

    Args:
        cfg: the configuration of the run.
        run_dir: its directory.
        resumed: whether the run in the directory is resumed.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    state = find_resume_checkpoint(run_dir / CHECKPOINTS) if resumed else None
    return state or load_initial_checkpoint(cfg.ckpt_path, weights_only=cfg.ckpt_weights_only)


def load_initial_checkpoint(path: str | None, *, weights_only: bool) -> InitialCheckpoint | None:
    """Return what `ckpt_path` and `ckpt_weights_only` name.

    Raises:
        UserError: it is no checkpoint of this project, or has weights only where the whole state is asked for.
    """
    if path is None:
        return None
    checkpoint, full_state = read_checkpoint(path), not weights_only
    if full_state and (missing := _missing(checkpoint, TRAINING_STATE)):
        raise UserError(
            f"ckpt_path={path}: has no {missing!r} entry, so training cannot continue from it; use its weights only: "
            "ckpt_weights_only=true"
        )
    return InitialCheckpoint(Path(path), checkpoint, full_state)


def find_resume_checkpoint(folder: Path) -> InitialCheckpoint | None:
    """Return what a run is resumed from: `last.ckpt`, or the one before if that is damaged or incomplete.

    Args:
        folder: that of the run's checkpoints.

    Returns:
        None if the run has written none yet, so that it begins anew.

    Raises:
        UserError: there are some, and all are damaged.
    """
    problems: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.is_file():
            continue
        try:
            point = InitialCheckpoint(path, _read_training_state(path), is_resumed=True)
        except UserError as error:
            problems.append(str(error))
            continue
        if problems:
            log.warning(f"{problems[0]}\ngoing on from the one before it")
        return point
    if problems:
        best = folder / "best.ckpt"
        raise UserError(*problems, f"{folder}: nothing to resume from; a new run can begin with ckpt_path={best}")
    return None


def _read_training_state(path: Path) -> Mapping[str, Any]:
    checkpoint = read_checkpoint(path)
    missing = _missing(checkpoint, TRAINING_STATE) or _missing(
        checkpoint["callbacks"], (TrainingStateCheckpoint.__qualname__,)
    )
    if missing:
        raise UserError(f"{path}: is incomplete (it has no {missing!r} entry)")
    return checkpoint


def _missing(entries: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if name not in entries), None)
